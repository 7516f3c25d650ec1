//! The catalogue of policy types that carry assignments: one table, used by the fetch, the restore, the
//! sandbox and the check of a request's `policy_types`. A new type is a new row.
//!
//! Sources: the Microsoft Graph beta schema and reference (paths, body properties, success statuses, targets) and
//! the behaviour that the reference does not state (where `$expand` can be trusted, which filters are refused).

/// How the assignments of one policy are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// `GET {list}/{id}/assignments`; the list may carry them too, see [`PolicyType::expand`].
    Navigation,
    /// The object itself holds its group ids (role assignments).
    Object,
    /// The type has no assignments of its own.
    Nothing,
}

/// What `$expand=assignments` on the list gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expand {
    /// The assignments; an empty one is confirmed with a read of its own.
    Works,
    /// Nothing that can be trusted (unproven, refused, or always empty): read each policy.
    Untrusted,
}

/// How assignments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// `POST {list}/{id}/{action}` with the whole set in `body_property`; replaces what was there.
    Replace {
        /// `assign` or `update`, with a cast segment where the plain one is refused.
        action: &'static str,
        /// The property of the body that holds the set: it has ten spellings.
        body_property: &'static str,
        /// The `@odata.type` of an item, where one is documented.
        item_type: Option<&'static str>,
        /// The documented status of success; `None` where nobody has documented one.
        success: Option<u16>,
    },
    /// `POST` and `DELETE {list}/{id}/assignments[/{assignment}]`, one by one: 201 and 204.
    OneByOne {
        /// The `@odata.type` of an item.
        item_type: &'static str,
    },
    /// `PATCH {list}/{id}`: group ids in properties of the object (role assignments).
    Patch,
    /// Nothing to write.
    Nothing,
}

/// A kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetKind {
    /// `#microsoft.graph.groupAssignmentTarget`.
    Group,
    /// `#microsoft.graph.exclusionGroupAssignmentTarget`.
    ExclusionGroup,
    /// `#microsoft.graph.allLicensedUsersAssignmentTarget`.
    AllUsers,
    /// `#microsoft.graph.allDevicesAssignmentTarget`.
    AllDevices,
    /// `#microsoft.graph.cloudPcManagementGroupAssignmentTarget`.
    CloudPcGroup,
    /// `#microsoft.graph.officeConfigurationGroupAssignmentTarget`.
    OfficeGroup,
}

/// Whether the service takes assignment filters on the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filters {
    /// Seen to work.
    Yes,
    /// The schema has the fields; nobody has seen them accepted.
    SchemaOnly,
    /// Refused.
    No,
}

/// Which of several types that share one list an item belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discriminator {
    /// The list holds this type only.
    Whole,
    /// Items with one of these `@odata.type`s.
    Only(&'static [&'static str]),
    /// Items with none of these `@odata.type`s.
    Except(&'static [&'static str]),
}

/// A row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct PolicyType {
    /// The key in requests, snapshots and configurations.
    pub key: &'static str,
    /// What an administrator calls it.
    pub label: &'static str,
    /// The collection, below the Graph version.
    pub list_path: &'static str,
    /// The query of the list, without `$expand`; empty for none.
    pub list_query: &'static str,
    /// The property that holds a policy's name.
    pub name_property: &'static str,
    /// Which items of the list are of this type.
    pub discriminator: Discriminator,
    /// How assignments are read.
    pub read: Read,
    /// Whether the list may carry them.
    pub expand: Expand,
    /// How they are written.
    pub write: Write,
    /// The targets that the service takes.
    pub targets: &'static [TargetKind],
    /// Whether it takes filters.
    pub filters: Filters,
    /// Assignment properties besides `target` that must survive.
    pub kept: &'static [&'static str],
    /// The application permission to read, where known.
    pub permission_read: Option<&'static str>,
    /// The application permission to write, where known.
    pub permission_write: Option<&'static str>,
    /// The family whose throttle limits it counts against.
    pub throttle_family: &'static str,
    /// Restored only where the request names the policy: what it assigns is rights and Cloud PCs, not settings.
    pub named_only: bool,
}

impl PolicyType {
    /// App protection and app configuration: the service takes no broad targets, a pseudo group stands for all users,
    /// and filters are those of managed apps.
    pub fn is_managed_app(&self) -> bool {
        matches!(
            self.write,
            Write::Replace { item_type: Some("#microsoft.graph.targetedManagedAppPolicyAssignment"), .. }
        )
    }
}

/// Finds a row by its key.
pub fn find(key: &str) -> Option<&'static PolicyType> {
    TABLE.iter().find(|row| row.key == key)
}

/// The rows whose assignments can be read, in the order of the table.
pub fn readable() -> impl Iterator<Item = &'static PolicyType> {
    TABLE.iter().filter(|row| row.read != Read::Nothing)
}

use TargetKind::{AllDevices, AllUsers, CloudPcGroup, ExclusionGroup, Group, OfficeGroup};

/// The catalogue.
pub static TABLE: &[PolicyType] = &[
    PolicyType {
        key: "deviceConfiguration",
        label: "Device configuration profiles (templates)",
        list_path: "/deviceManagement/deviceConfigurations",
        list_query: "$top=1000",
        name_property: "displayName",
        discriminator: Discriminator::Except(&["#microsoft.graph.windowsUpdateForBusinessConfiguration"]),
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.deviceConfigurationAssignment"),
            success: Some(200),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &["intent"],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "windowsUpdateRing",
        label: "Windows update rings",
        list_path: "/deviceManagement/deviceConfigurations",
        list_query: "$top=1000",
        name_property: "displayName",
        discriminator: Discriminator::Only(&["#microsoft.graph.windowsUpdateForBusinessConfiguration"]),
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.deviceConfigurationAssignment"),
            success: Some(200),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &["intent"],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "configurationPolicy",
        label: "Settings catalog, endpoint security and security baselines (new template families)",
        list_path: "/deviceManagement/configurationPolicies",
        list_query: "$top=100",
        name_property: "name",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.deviceManagementConfigurationPolicyAssignment"),
            success: Some(200),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "compliancePolicy",
        label: "Compliance policies (classic)",
        list_path: "/deviceManagement/deviceCompliancePolicies",
        list_query: "$top=1000",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.deviceCompliancePolicyAssignment"),
            success: Some(200),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "compliancePolicyV2",
        label: "Compliance policies (settings catalog: Linux …)",
        list_path: "/deviceManagement/compliancePolicies",
        list_query: "",
        name_property: "name",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.deviceManagementConfigurationPolicyAssignment"),
            success: Some(200),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "groupPolicyConfiguration",
        label: "Administrative templates",
        list_path: "/deviceManagement/groupPolicyConfigurations",
        list_query: "$top=1000",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.groupPolicyConfigurationAssignment"),
            success: Some(200),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "intent",
        label: "Endpoint security intents / old security baselines",
        list_path: "/deviceManagement/intents",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.deviceManagementIntentAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "resourceAccessProfile",
        label: "Resource access profiles (SCEP/PKCS/VPN/Wi-Fi, new)",
        list_path: "/deviceManagement/resourceAccessProfiles",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.deviceManagementResourceAccessProfileAssignment"),
            success: Some(200),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &["intent"],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "hardwareConfiguration",
        label: "BIOS / DFCI hardware configurations",
        list_path: "/deviceManagement/hardwareConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "hardwareConfigurationAssignments",
            item_type: Some("#microsoft.graph.hardwareConfigurationAssignment"),
            success: Some(200),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "inventoryPolicy",
        label: "Device inventory policies",
        list_path: "/deviceManagement/inventoryPolicies",
        list_query: "",
        name_property: "name",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: None,
            success: None,
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "mobileApp",
        label: "Apps (all types)",
        list_path: "/deviceAppManagement/mobileApps",
        list_query: "$filter=(microsoft.graph.managedApp/appAvailability eq null or microsoft.graph.managedApp/appAvailability eq 'lineOfBusiness' or isAssigned eq true)&$orderby=displayName",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "mobileAppAssignments",
            item_type: Some("#microsoft.graph.mobileAppAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &["intent", "settings"],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-applications",
        named_only: false,
    },
    PolicyType {
        key: "iosManagedAppProtection",
        label: "App protection iOS",
        list_path: "/deviceAppManagement/iosManagedAppProtections",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.targetedManagedAppPolicyAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-managed-applications",
        named_only: false,
    },
    PolicyType {
        key: "androidManagedAppProtection",
        label: "App protection Android",
        list_path: "/deviceAppManagement/androidManagedAppProtections",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.targetedManagedAppPolicyAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-managed-applications",
        named_only: false,
    },
    PolicyType {
        key: "windowsManagedAppProtection",
        label: "App protection Windows (MAM for Edge)",
        list_path: "/deviceAppManagement/windowsManagedAppProtections",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.targetedManagedAppPolicyAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-managed-applications",
        named_only: false,
    },
    PolicyType {
        key: "mdmWindowsInformationProtectionPolicy",
        label: "Windows Information Protection, with enrolment",
        list_path: "/deviceAppManagement/mdmWindowsInformationProtectionPolicies",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.targetedManagedAppPolicyAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-wip",
        named_only: false,
    },
    PolicyType {
        key: "windowsInformationProtectionPolicy",
        label: "Windows Information Protection, without enrolment",
        list_path: "/deviceAppManagement/windowsInformationProtectionPolicies",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.targetedManagedAppPolicyAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-wip",
        named_only: false,
    },
    PolicyType {
        key: "targetedManagedAppConfiguration",
        label: "App configuration, managed apps",
        list_path: "/deviceAppManagement/targetedManagedAppConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.targetedManagedAppPolicyAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-managed-applications",
        named_only: false,
    },
    PolicyType {
        key: "mobileAppConfiguration",
        label: "App configuration, managed devices (and OEMConfig)",
        list_path: "/deviceAppManagement/mobileAppConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "microsoft.graph.managedDeviceMobileAppConfiguration/assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.managedDeviceMobileAppConfigurationAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-applications",
        named_only: false,
    },
    PolicyType {
        key: "iosLobAppProvisioningConfiguration",
        label: "iOS app provisioning profiles",
        list_path: "/deviceAppManagement/iosLobAppProvisioningConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "iOSLobAppProvisioningConfigAssignments",
            item_type: Some("#microsoft.graph.iosLobAppProvisioningConfigurationAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-applications",
        named_only: false,
    },
    PolicyType {
        key: "managedEBook",
        label: "eBooks",
        list_path: "/deviceAppManagement/managedEBooks",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "managedEBookAssignments",
            item_type: Some("#microsoft.graph.managedEBookAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &["installIntent"],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-books",
        named_only: false,
    },
    PolicyType {
        key: "wdacSupplementalPolicy",
        label: "App control supplemental policies (S mode)",
        list_path: "/deviceAppManagement/wdacSupplementalPolicies",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "wdacPolicyAssignments",
            item_type: Some("#microsoft.graph.windowsDefenderApplicationControlSupplementalPolicyAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-applications",
        named_only: false,
    },
    PolicyType {
        key: "policySet",
        label: "Policy sets",
        list_path: "/deviceAppManagement/policySets",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "update",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.policySetAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-applications",
        named_only: false,
    },
    PolicyType {
        key: "deviceManagementScript",
        label: "Windows PowerShell scripts",
        list_path: "/deviceManagement/deviceManagementScripts",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "deviceManagementScriptAssignments",
            item_type: Some("#microsoft.graph.deviceManagementScriptAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementScripts.Read.All"),
        permission_write: Some("DeviceManagementScripts.ReadWrite.All"),
        throttle_family: "intune-devices",
        named_only: false,
    },
    PolicyType {
        key: "deviceShellScript",
        label: "macOS shell scripts",
        list_path: "/deviceManagement/deviceShellScripts",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "deviceManagementScriptAssignments",
            item_type: Some("#microsoft.graph.deviceManagementScriptAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementScripts.Read.All"),
        permission_write: Some("DeviceManagementScripts.ReadWrite.All"),
        throttle_family: "intune-devices",
        named_only: false,
    },
    PolicyType {
        key: "deviceCustomAttributeShellScript",
        label: "macOS custom attributes",
        list_path: "/deviceManagement/deviceCustomAttributeShellScripts",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "deviceManagementScriptAssignments",
            item_type: Some("#microsoft.graph.deviceManagementScriptAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementScripts.Read.All"),
        permission_write: Some("DeviceManagementScripts.ReadWrite.All"),
        throttle_family: "intune-devices",
        named_only: false,
    },
    PolicyType {
        key: "deviceHealthScript",
        label: "Remediations (proactive remediation scripts)",
        list_path: "/deviceManagement/deviceHealthScripts",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "deviceHealthScriptAssignments",
            item_type: Some("#microsoft.graph.deviceHealthScriptAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &["runRemediationScript", "runSchedule"],
        permission_read: Some("DeviceManagementScripts.Read.All"),
        permission_write: Some("DeviceManagementScripts.ReadWrite.All"),
        throttle_family: "intune-devices",
        named_only: false,
    },
    PolicyType {
        key: "deviceComplianceScript",
        label: "Custom compliance discovery scripts",
        list_path: "/deviceManagement/deviceComplianceScripts",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "deviceHealthScriptAssignments",
            item_type: Some("#microsoft.graph.deviceHealthScriptAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementScripts.Read.All"),
        permission_write: Some("DeviceManagementScripts.ReadWrite.All"),
        throttle_family: "intune-devices",
        named_only: false,
    },
    PolicyType {
        key: "enrollmentStatusPage",
        label: "Enrolment status page",
        list_path: "/deviceManagement/deviceEnrollmentConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Only(&[
            "#microsoft.graph.windows10EnrollmentCompletionPageConfiguration",
        ]),
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "enrollmentConfigurationAssignments",
            item_type: Some("#microsoft.graph.enrollmentConfigurationAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-enrollment",
        named_only: false,
    },
    PolicyType {
        key: "enrollmentPlatformRestriction",
        label: "Enrolment device platform restrictions",
        list_path: "/deviceManagement/deviceEnrollmentConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Only(&[
            "#microsoft.graph.deviceEnrollmentPlatformRestrictionConfiguration",
            "#microsoft.graph.deviceEnrollmentPlatformRestrictionsConfiguration",
        ]),
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "enrollmentConfigurationAssignments",
            item_type: Some("#microsoft.graph.enrollmentConfigurationAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-enrollment",
        named_only: false,
    },
    PolicyType {
        key: "enrollmentLimit",
        label: "Enrolment device limit",
        list_path: "/deviceManagement/deviceEnrollmentConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Only(&["#microsoft.graph.deviceEnrollmentLimitConfiguration"]),
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "enrollmentConfigurationAssignments",
            item_type: Some("#microsoft.graph.enrollmentConfigurationAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-enrollment",
        named_only: false,
    },
    PolicyType {
        key: "windowsHelloForBusiness",
        label: "Windows Hello for Business (tenant)",
        list_path: "/deviceManagement/deviceEnrollmentConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Only(&[
            "#microsoft.graph.deviceEnrollmentWindowsHelloForBusinessConfiguration",
        ]),
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "enrollmentConfigurationAssignments",
            item_type: Some("#microsoft.graph.enrollmentConfigurationAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-enrollment",
        named_only: false,
    },
    PolicyType {
        key: "coManagementAuthority",
        label: "Co-management settings",
        list_path: "/deviceManagement/deviceEnrollmentConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Only(&["#microsoft.graph.deviceComanagementAuthorityConfiguration"]),
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "enrollmentConfigurationAssignments",
            item_type: Some("#microsoft.graph.enrollmentConfigurationAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-enrollment",
        named_only: false,
    },
    PolicyType {
        key: "enrollmentNotification",
        label: "Enrolment notifications",
        list_path: "/deviceManagement/deviceEnrollmentConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Only(&["#microsoft.graph.deviceEnrollmentNotificationConfiguration"]),
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "enrollmentConfigurationAssignments",
            item_type: Some("#microsoft.graph.enrollmentConfigurationAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-enrollment",
        named_only: false,
    },
    PolicyType {
        key: "windowsRestore",
        label: "Windows backup and restore (enrolment)",
        list_path: "/deviceManagement/deviceEnrollmentConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Only(&["#microsoft.graph.windowsRestoreDeviceEnrollmentConfiguration"]),
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "enrollmentConfigurationAssignments",
            item_type: Some("#microsoft.graph.enrollmentConfigurationAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::Yes,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-enrollment",
        named_only: false,
    },
    PolicyType {
        key: "autopilotProfile",
        label: "Windows Autopilot deployment profiles",
        list_path: "/deviceManagement/windowsAutopilotDeploymentProfiles",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::OneByOne { item_type: "#microsoft.graph.windowsAutopilotDeploymentProfileAssignment" },
        targets: &[Group, ExclusionGroup, AllDevices],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-enrollment",
        named_only: false,
    },
    PolicyType {
        key: "appleUserInitiatedEnrollmentProfile",
        label: "Apple user-initiated enrolment types",
        list_path: "/deviceManagement/appleUserInitiatedEnrollmentProfiles",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::OneByOne { item_type: "#microsoft.graph.appleEnrollmentProfileAssignment" },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-enrollment",
        named_only: false,
    },
    PolicyType {
        key: "termsAndConditions",
        label: "Terms and conditions",
        list_path: "/deviceManagement/termsAndConditions",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::OneByOne { item_type: "#microsoft.graph.termsAndConditionsAssignment" },
        targets: &[Group, AllUsers],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-company-terms",
        named_only: false,
    },
    PolicyType {
        key: "embeddedSIMActivationCodePool",
        label: "eSIM activation code pools",
        list_path: "/deviceManagement/embeddedSIMActivationCodePools",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.embeddedSIMActivationCodePoolAssignment"),
            success: Some(200),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-devices",
        named_only: false,
    },
    PolicyType {
        key: "windowsFeatureUpdateProfile",
        label: "Windows feature updates",
        list_path: "/deviceManagement/windowsFeatureUpdateProfiles",
        list_query: "$top=200",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.windowsFeatureUpdateProfileAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "windowsQualityUpdateProfile",
        label: "Windows quality updates, expedited",
        list_path: "/deviceManagement/windowsQualityUpdateProfiles",
        list_query: "$top=200",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.windowsQualityUpdateProfileAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "windowsQualityUpdatePolicy",
        label: "Windows quality update policies (hotpatch)",
        list_path: "/deviceManagement/windowsQualityUpdatePolicies",
        list_query: "$top=200",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.windowsQualityUpdatePolicyAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "windowsDriverUpdateProfile",
        label: "Windows driver updates",
        list_path: "/deviceManagement/windowsDriverUpdateProfiles",
        list_query: "$top=200",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.windowsDriverUpdateProfileAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers, AllDevices],
        filters: Filters::SchemaOnly,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "intuneBrandingProfile",
        label: "Company Portal branding",
        list_path: "/deviceManagement/intuneBrandingProfiles",
        list_query: "",
        name_property: "profileName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.intuneBrandingProfileAssignment"),
            success: Some(204),
        },
        targets: &[Group, ExclusionGroup, AllUsers],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementApps.Read.All"),
        permission_write: Some("DeviceManagementApps.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "roleScopeTag",
        label: "Scope tags (auto assignment)",
        list_path: "/deviceManagement/roleScopeTags",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.roleScopeTagAutoAssignment"),
            success: Some(200),
        },
        targets: &[Group],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementRBAC.Read.All"),
        permission_write: Some("DeviceManagementRBAC.ReadWrite.All"),
        throttle_family: "intune-rbac",
        named_only: true,
    },
    PolicyType {
        key: "roleAssignment",
        label: "Intune RBAC role assignments",
        list_path: "/deviceManagement/roleAssignments",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Object,
        expand: Expand::Untrusted,
        write: Write::Patch,
        targets: &[],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementRBAC.Read.All"),
        permission_write: Some("DeviceManagementRBAC.ReadWrite.All"),
        throttle_family: "intune-rbac",
        named_only: true,
    },
    PolicyType {
        key: "cloudPcProvisioningPolicy",
        label: "Windows 365 provisioning policies",
        list_path: "/deviceManagement/virtualEndpoint/provisioningPolicies",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.cloudPcProvisioningPolicyAssignment"),
            success: Some(204),
        },
        targets: &[CloudPcGroup],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("CloudPC.Read.All"),
        permission_write: Some("CloudPC.ReadWrite.All"),
        throttle_family: "cloudpc",
        named_only: true,
    },
    PolicyType {
        key: "cloudPcUserSetting",
        label: "Windows 365 user settings",
        list_path: "/deviceManagement/virtualEndpoint/userSettings",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Works,
        write: Write::Replace {
            action: "assign",
            body_property: "assignments",
            item_type: Some("#microsoft.graph.cloudPcUserSettingAssignment"),
            success: Some(204),
        },
        targets: &[CloudPcGroup],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("CloudPC.Read.All"),
        permission_write: Some("CloudPC.ReadWrite.All"),
        throttle_family: "cloudpc",
        named_only: true,
    },
    PolicyType {
        key: "officeClientConfiguration",
        label: "Office cloud policy (Cirrus)",
        list_path: "/officeConfiguration/clientConfigurations",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Navigation,
        expand: Expand::Untrusted,
        write: Write::Replace {
            action: "assign",
            body_property: "officeConfigurationAssignments",
            item_type: Some("#microsoft.graph.officeClientConfigurationAssignment"),
            success: Some(200),
        },
        targets: &[OfficeGroup],
        filters: Filters::No,
        kept: &[],
        permission_read: None,
        permission_write: None,
        throttle_family: "not Intune",
        named_only: false,
    },
    PolicyType {
        key: "notificationMessageTemplate",
        label: "Compliance notification templates",
        list_path: "/deviceManagement/notificationMessageTemplates",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Nothing,
        expand: Expand::Untrusted,
        write: Write::Nothing,
        targets: &[],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "deviceCategory",
        label: "Device categories",
        list_path: "/deviceManagement/deviceCategories",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Nothing,
        expand: Expand::Untrusted,
        write: Write::Nothing,
        targets: &[],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "assignmentFilter",
        label: "Assignment filters (referenced by targets)",
        list_path: "/deviceManagement/assignmentFilters",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Nothing,
        expand: Expand::Untrusted,
        write: Write::Nothing,
        targets: &[],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "reusablePolicySetting",
        label: "Reusable settings",
        list_path: "/deviceManagement/reusablePolicySettings",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Nothing,
        expand: Expand::Untrusted,
        write: Write::Nothing,
        targets: &[],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "groupPolicyUploadedDefinitionFile",
        label: "Imported ADMX files",
        list_path: "/deviceManagement/groupPolicyUploadedDefinitionFiles",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Nothing,
        expand: Expand::Untrusted,
        write: Write::Nothing,
        targets: &[],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementConfiguration.Read.All"),
        permission_write: Some("DeviceManagementConfiguration.ReadWrite.All"),
        throttle_family: "intune-device-configuration",
        named_only: false,
    },
    PolicyType {
        key: "depEnrollmentProfile",
        label: "Apple automated device enrolment profiles",
        list_path: "/deviceManagement/depOnboardingSettings/{tokenId}/enrollmentProfiles",
        list_query: "",
        name_property: "displayName",
        discriminator: Discriminator::Whole,
        read: Read::Nothing,
        expand: Expand::Untrusted,
        write: Write::Nothing,
        targets: &[],
        filters: Filters::No,
        kept: &[],
        permission_read: Some("DeviceManagementServiceConfig.Read.All"),
        permission_write: Some("DeviceManagementServiceConfig.ReadWrite.All"),
        throttle_family: "intune-enrollment",
        named_only: false,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn keys_are_unique_and_found() {
        let keys: BTreeSet<_> = TABLE.iter().map(|row| row.key).collect();
        assert_eq!((keys.len(), TABLE.len()), (54, 54));
        assert!(TABLE.iter().all(|row| find(row.key).is_some_and(|found| std::ptr::eq(found, row))));
        assert!(find("MobileApp").is_none() && find("").is_none());
    }

    #[test]
    fn forty_eight_types_carry_assignments_that_can_be_read_and_written() {
        assert_eq!(readable().count(), 48);
        for row in TABLE {
            assert_eq!(row.read == Read::Nothing, row.write == Write::Nothing, "{}", row.key);
            assert_eq!(row.read == Read::Object, row.write == Write::Patch, "{}", row.key);
        }
    }

    #[test]
    fn rows_are_complete() {
        for row in TABLE {
            let list = row.list_path;
            assert!(list.starts_with('/') && !list.ends_with('/') && !list.contains('?'), "{}", row.key);
            assert!(
                !row.list_query.starts_with(['?', '&']) && !row.list_query.contains("$expand"),
                "{}",
                row.key
            );
            assert!(!row.label.is_empty() && !row.name_property.is_empty(), "{}", row.key);
            let known_targets = !row.targets.is_empty();
            assert_eq!(known_targets, row.read == Read::Navigation, "{}", row.key);
            let kinds: BTreeSet<_> = row.targets.iter().collect();
            assert_eq!(kinds.len(), row.targets.len(), "{}", row.key);
            assert!(row.read == Read::Navigation || row.expand == Expand::Untrusted, "{}", row.key);
            assert!(!list.contains('{') || row.read == Read::Nothing, "{}", row.key);
        }
    }

    #[test]
    fn writes_name_their_action_property_and_item() {
        for row in readable() {
            let item_type = match row.write {
                Write::Replace { action, body_property, item_type, success } => {
                    assert!(action.ends_with("assign") || action == "update", "{}", row.key);
                    assert!(body_property.to_ascii_lowercase().ends_with("assignments"), "{}", row.key);
                    assert!(success.is_none_or(|status| matches!(status, 200 | 204)), "{}", row.key);
                    item_type
                }
                Write::OneByOne { item_type } => Some(item_type),
                Write::Patch | Write::Nothing => None,
            };
            let named = |name: &str| name.starts_with("#microsoft.graph.") && name.ends_with("ssignment");
            assert!(item_type.is_none_or(named), "{}", row.key);
        }
    }

    /// The types that a discriminator names, and whether it takes what it does not name.
    fn named(discriminator: Discriminator) -> (BTreeSet<&'static str>, bool) {
        match discriminator {
            Discriminator::Whole => (BTreeSet::new(), true),
            Discriminator::Only(types) => (types.iter().copied().collect(), false),
            Discriminator::Except(types) => (types.iter().copied().collect(), true),
        }
    }

    #[test]
    fn an_item_of_a_shared_list_belongs_to_one_type_at_the_most() {
        let mut lists: BTreeMap<&str, Vec<&PolicyType>> = BTreeMap::new();
        for row in TABLE {
            lists.entry(row.list_path).or_default().push(row);
        }
        assert_eq!(lists.values().filter(|rows| rows.len() > 1).count(), 2);
        for (list, rows) in lists {
            let takes = |row: &PolicyType, odata_type: &str| {
                let (types, others) = named(row.discriminator);
                types.contains(odata_type) != others
            };
            let types = rows.iter().flat_map(|row| named(row.discriminator).0);
            for odata_type in types.chain(["#microsoft.graph.somethingNew"]) {
                let owners: Vec<_> =
                    rows.iter().filter(|row| takes(row, odata_type)).map(|row| row.key).collect();
                assert!(owners.len() <= 1, "{list}: {odata_type} belongs to {owners:?}");
            }
        }
    }
}
