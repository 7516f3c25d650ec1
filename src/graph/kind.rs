//! Of which policy type an item is, where several types share one list, and where its assignments are.

use super::cloud::segment;
use crate::domain::policy_types::{Discriminator, PolicyType, Read};

/// What an item says that it is: its `@odata.type`, or what its id stands for.
pub(super) fn kind_of<'a>(list_path: &str, odata_type: Option<&'a str>, id: &str) -> Option<&'a str> {
    odata_type.or_else(|| enrolment_type(list_path, id))
}

/// Whether an item of `kind` is of a type with this discriminator.
pub(super) fn claims(discriminator: Discriminator, kind: Option<&str>) -> bool {
    match discriminator {
        Discriminator::Whole => true,
        Discriminator::Only(kinds) => kind.is_some_and(|kind| kinds.contains(&kind)),
        Discriminator::Except(kinds) => kind.is_some_and(|kind| !kinds.contains(&kind)),
    }
}

/// The list whose ids say what an item is: `<guid>_Limit`, `<guid>_DefaultLimit`.
const ENROLMENT_LIST: &str = "/deviceManagement/deviceEnrollmentConfigurations";

/// What the end of an enrolment configuration's id stands for.
const ENROLMENT_SUFFIXES: [(&str, &str); 7] = [
    (
        "Windows10EnrollmentCompletionPageConfiguration",
        "#microsoft.graph.windows10EnrollmentCompletionPageConfiguration",
    ),
    ("SinglePlatformRestriction", "#microsoft.graph.deviceEnrollmentPlatformRestrictionConfiguration"),
    ("PlatformRestrictions", "#microsoft.graph.deviceEnrollmentPlatformRestrictionsConfiguration"),
    ("Limit", "#microsoft.graph.deviceEnrollmentLimitConfiguration"),
    ("WindowsHelloForBusiness", "#microsoft.graph.deviceEnrollmentWindowsHelloForBusinessConfiguration"),
    ("EnrollmentNotificationsConfiguration", "#microsoft.graph.deviceEnrollmentNotificationConfiguration"),
    ("WindowsRestore", "#microsoft.graph.windowsRestoreDeviceEnrollmentConfiguration"),
];

fn enrolment_type(list_path: &str, id: &str) -> Option<&'static str> {
    let (_, suffix) = id.rsplit_once('_').filter(|_| list_path == ENROLMENT_LIST)?;
    let suffix = suffix.strip_prefix("Default").unwrap_or(suffix);
    ENROLMENT_SUFFIXES.iter().find(|(known, _)| *known == suffix).map(|(_, kind)| *kind)
}

/// What holds the assignments of a policy: a collection of its own, or the object itself.
pub(super) fn assignments_path(row: &PolicyType, id: &str) -> String {
    let object = format!("{}/{}", row.list_path, segment(id));
    if row.read == Read::Object { object } else { format!("{object}/assignments") }
}
