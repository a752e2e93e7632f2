use testbed::{SecurityKeys, Ssh, Sshd, SshdOptions, Touch};

/// OpenSSH's own server looks at what the provider says about touching, and verifies that it is signed.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn sshd_tells_a_touched_key_from_an_untouched_one() {
    let plugged_in = SecurityKeys::plug_in().unwrap();
    for key_type in ["ed25519-sk", "ecdsa-sk"] {
        let touched = plugged_in.make(key_type, Touch::Asked).unwrap();
        let untouched = plugged_in.make(key_type, Touch::NotAsked).unwrap();
        for (path, option, status) in
            [(&touched, "", 0), (&untouched, "", 255), (&untouched, "no-touch-required ", 0)]
        {
            let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
            let server = Sshd::start(SshdOptions::new().authorize(format!("{option}{public}"))).unwrap();
            let client = Ssh::new(server.port()).user(server.user());
            let output = client.security_key(path, &plugged_in.provider()).run("true").unwrap();
            assert_eq!(output.code(), Some(status), "{key_type} {option}: {}", server.log());
        }
    }
}
