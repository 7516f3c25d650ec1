//! Which tenants and workspaces a client command means: by id, directory id, name or slug.

use super::CliError;
use super::client::Client;
use super::views::{TenantView, WorkspaceView, read_all};

/// Every tenant that the token sees.
///
/// # Errors
/// What the daemon answers.
pub async fn tenants(client: &Client) -> Result<Vec<TenantView>, CliError> {
    read_all("a list of tenants", &client.list("/tenants", &[], usize::MAX).await?)
}

/// Every workspace that the token sees.
///
/// # Errors
/// What the daemon answers.
pub async fn workspaces(client: &Client) -> Result<Vec<WorkspaceView>, CliError> {
    read_all("a list of workspaces", &client.list("/workspaces", &[], usize::MAX).await?)
}

/// The tenant that `selector` means: its id, its directory id, or its name.
///
/// # Errors
/// [`CliError::Usage`] when none or several match.
pub fn tenant<'a>(tenants: &'a [TenantView], selector: &str) -> Result<&'a TenantView, CliError> {
    let exactly =
        |matches: &dyn Fn(&TenantView) -> bool| tenants.iter().filter(|t| matches(t)).collect::<Vec<_>>();
    let same_name = |tenant: &TenantView| tenant.name.to_lowercase() == selector.to_lowercase();
    let found = [
        exactly(&|tenant| tenant.id.to_string() == selector),
        exactly(&|tenant| tenant.external_id.eq_ignore_ascii_case(selector)),
        exactly(&|tenant| tenant.name == selector),
        exactly(&same_name),
    ];
    match found.into_iter().find(|found| !found.is_empty()).as_deref() {
        None => Err(CliError::Usage(format!(
            "no tenant has the id, directory id or name `{selector}`: see `atlasd tenants list`"
        ))),
        Some([one]) => Ok(one),
        Some(several) => {
            let ids: Vec<String> =
                several.iter().map(|tenant| format!("{} ({})", tenant.id, tenant.workspace_slug)).collect();
            Err(CliError::Usage(format!(
                "`{selector}` means several tenants: name one by its id: {}",
                ids.join(", ")
            )))
        }
    }
}

/// The workspace that `selector` means: its id or its slug.
///
/// # Errors
/// [`CliError::Usage`] when there is none.
pub fn workspace<'a>(workspaces: &'a [WorkspaceView], selector: &str) -> Result<&'a WorkspaceView, CliError> {
    let by_slug = workspaces.iter().find(|workspace| workspace.slug == selector);
    let found = by_slug.or_else(|| workspaces.iter().find(|workspace| workspace.id.to_string() == selector));
    found.ok_or_else(|| {
        CliError::Usage(format!("no workspace has the slug or id `{selector}`: see `atlasd workspaces list`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants() -> Vec<TenantView> {
        [
            (1, "aaaa", "Contoso"),
            (2, "bbbb", "contoso"),
            (3, "cccc", "1"),
            (4, "dddd", "Dup"),
            (5, "eeee", "Dup"),
        ]
        .map(|(id, external_id, name)| TenantView {
            id,
            workspace_id: 1,
            workspace_slug: "w".into(),
            external_id: external_id.into(),
            name: name.into(),
        })
        .into()
    }

    #[test]
    fn an_id_comes_before_a_directory_id_and_that_before_a_name() {
        let tenants = tenants();
        let id = |selector| tenant(&tenants, selector).expect("a tenant").id;
        assert_eq!(id("1"), 1);
        assert_eq!(id("BBBB"), 2);
        assert_eq!(id("contoso"), 2);
        assert_eq!(id("Contoso"), 1);
    }

    #[test]
    fn none_and_several_are_wrong_usage() {
        let tenants = tenants();
        let message = |selector| tenant(&tenants, selector).expect_err("not one").to_string();
        assert!(message("nobody").contains("`nobody`"));
        assert!(message("Dup").ends_with("4 (w), 5 (w)"), "{}", message("Dup"));
        assert!(message("CONTOSO").contains("several"));
    }
}
