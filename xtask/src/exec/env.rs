//! The environment of the programs that a build runs: what is named here passes, all else
//! is taken out, so that the same sources give the same bytes whoever builds them.

use crate::context::Env;

/// Variables that pass as they are: where tools and their caches lie, and how to reach a
/// registry. None of them changes what is compiled.
const PASS: [&str; 22] = [
    "PATH",
    "HOME",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_DIST_SERVER",
    "RUSTUP_UPDATE_ROOT",
    "TMPDIR",
    "USER",
    "LOGNAME",
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "GIT_SSH_COMMAND",
    "GIT_ASKPASS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SOURCE_DATE_EPOCH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "no_proxy",
];

/// Families of variables that pass: registries, mirrors and the network.
const PASS_PREFIX: [&str; 6] = [
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_CREDENTIAL_",
];

/// Variables worth a line in the log when they are taken out: someone set them in order to
/// change what is compiled. (Others, like `LANG`, go without a word.)
const NOTED: [&str; 12] = [
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_BOOTSTRAP",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_TARGET_DIR",
    "CFLAGS",
    "CC",
    "LDFLAGS",
    "LD_PRELOAD",
];

/// Families of such variables.
const NOTED_PREFIX: [&str; 4] =
    ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_UNSTABLE_"];

/// `env` as a build's programs see it, and the variables that were taken out of it and would
/// have changed what is compiled.
#[must_use]
pub fn sanitise(env: &Env) -> (Env, Vec<String>) {
    let passes = |name: &str| {
        PASS.contains(&name) || PASS_PREFIX.iter().any(|prefix| name.starts_with(prefix))
    };
    let noted = |name: &str| {
        NOTED.contains(&name) || NOTED_PREFIX.iter().any(|prefix| name.starts_with(prefix))
    };
    let kept = env.iter().filter(|(k, _)| passes(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let stripped = env.keys().filter(|k| !passes(k) && noted(k)).cloned().collect();
    (kept, stripped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_the_kernel_is_stripped_and_named() {
        let env: Env = [
            ("PATH", "/bin"),
            ("CARGO_HTTP_PROXY", "p"),
            ("CARGO_SOURCE_CRATES_IO_REPLACE_WITH", "mirror"),
            ("RUSTFLAGS", "-Copt-level=0"),
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
            ("LD_LIBRARY_PATH", "/x"),
            ("LANG", "de_DE"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let (kept, stripped) = sanitise(&env);
        assert_eq!(
            kept.keys().collect::<Vec<_>>(),
            ["CARGO_HTTP_PROXY", "CARGO_SOURCE_CRATES_IO_REPLACE_WITH", "PATH"]
        );
        assert_eq!(stripped, ["CARGO_PROFILE_RELEASE_LTO", "RUSTFLAGS"]);
    }
}
