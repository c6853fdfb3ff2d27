//! Who a ZooKeeper reporter is, whom it trusts, and who may do what with its nodes.

use common::config::Section;
use common::tls::TlsOptions;
use common::zk::node::Access;
use common::zk::security::{Auth, Scheme, Security};

/// The `auth` and `tls` of a section; `None` when one of them is wrong.
pub(super) fn security(section: &mut Section<'_>) -> Option<Security> {
    let auth = section.section("auth", "auth").map(|mut section| auth(&mut section));
    let with_tls = section.has("tls");
    let tls = TlsOptions::of(section, "tls");
    if let Some(tls) = &tls {
        tls_is_supported(section, tls);
    }
    if with_tls && tls.is_none() {
        return None;
    }
    Some(Security {
        auth: match auth {
            Some(auth) => Some(auth?),
            None => None,
        },
        tls,
    })
}

fn auth(section: &mut Section<'_>) -> Option<Auth> {
    let scheme = scheme(section);
    let user = section.required_text("user");
    let password = section.secret("password");
    if user.as_ref().is_some_and(|user| user.contains(':')) {
        section.problem(
            "user",
            "has a `:`",
            "ZooKeeper separates user and password by it: leave it out",
        );
    }
    if password.is_none() {
        section.problem("password", "is missing", "the text, `env:NAME` or `file:/PATH`");
    }
    Some(Auth {
        scheme: scheme?,
        user: user?,
        password: password?,
    })
}

fn scheme(section: &mut Section<'_>) -> Option<Scheme> {
    let word = section.text("scheme").unwrap_or_default().to_ascii_lowercase();
    let schemes = [("digest", Scheme::Digest), ("sasl", Scheme::Sasl)];
    if matches!(word.as_str(), "gssapi" | "kerberos") {
        let what = format!("`{word}` is not offered: of SASL's mechanisms there is DIGEST-MD5");
        section.problem("scheme", what, "`sasl` with a user that the servers know, or `digest`");
        return None;
    }
    section.choice_or("scheme", "digest", &schemes)
}

/// The ZooKeeper client can do less than our own.
fn tls_is_supported(section: &mut Section<'_>, tls: &TlsOptions) {
    if tls.ca.is_none() {
        let what = "names no `ca`, and ZooKeeper is not trusted by the machine's roots";
        section.problem(
            "tls",
            what,
            "add `ca: FILE`, the authority of the ensemble's certificates",
        );
    }
    if tls.server_name.is_some() {
        let what = "has a `serverName`, which is not there for ZooKeeper";
        section.problem("tls", what, "name the `hosts` as their certificates do");
    }
    if tls.insecure_skip_verify {
        let what = "has `insecureSkipVerify`, which is not there for ZooKeeper";
        section.problem("tls", what, "name the ensemble's `ca` instead");
    }
}

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
            "gives rights to whoever is authenticated, and this reporter is not",
            "add `auth: { user: …, password: … }` or a client certificate in `tls`",
        );
    }
    Some(access)
}
