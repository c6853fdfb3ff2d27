//! The access rights of the nodes of a ZooKeeper reporter.

use common::config::Section;
use common::zk::node::Access;
use common::zk::security::Security;

/// The `acl` of a section.
pub(super) fn access(section: &mut Section<'_>, security: Option<&Security>) -> Option<Access> {
    let text = section.text_or("acl", "world");
    let access = match text.to_ascii_lowercase().as_str() {
        "world" => Some(Access::world()),
        "creatorallworldread" => Some(Access::creator_all_world_read()),
        _ => Access::parse(&text),
    };
    let Some(access) = access else {
        section.problem(
            "acl",
            "is neither `world`, `creatorAllWorldRead` nor a list of `SCHEME:ID:PERMISSIONS`",
            "as for `zkCli setAcl`, e.g. `world:anyone:r,digest:USER:HASH:cdrwa`",
        );
        return None;
    };
    let identified = |security: &Security| {
        security.auth.is_some() || security.tls.as_ref().is_some_and(|tls| tls.identity.is_some())
    };
    if access.needs_authentication() && !security.is_none_or(identified) {
        section.problem(
            "acl",
            "gives rights to authenticated sessions, and this reporter's is not",
            "add `auth: { user: …, password: … }` or a client certificate in `tls`",
        );
    }
    Some(access)
}
