//! A users file made, served and logged in with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::World;

#[test]
fn a_user_is_added_logs_in_and_a_wrong_password_is_exit_code_4() {
    let world = World::empty();
    let file = world.path("users.toml");
    let name = file.to_str().unwrap();
    // Standard input is a file descriptor as good as any.
    let made = world.newcomer().pipe(b"open sesame\n", &format!("user add {name} ada --password-fd 0"));
    made.ok().silent();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("$argon2id$") && !text.contains("sesame"), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let server = world.start("127.0.0.1:0", &format!("--users {name} --verbose"));
    let client =
        || world.stranger_to(&server.address).flags(["--accept-new".into()]).env("FTPISH_USER", "ada");
    client().env("FTPISH_PASSWORD", "open sesame").run("mkdir made").ok();
    assert!(world.root("made").is_dir());
    let wrong = client().env("FTPISH_PASSWORD", "sesame").run("mkdir other").exits(4);
    assert!(wrong.stderr.contains("wrong user or password"), "{}", wrong.stderr);
    let stranger = world.stranger_to(&server.address).flags(["--accept-new".into()]).run("ls").exits(4);
    assert!(stranger.stderr.contains("the server wants a login"), "{}", stranger.stderr);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = world.serve_in_vain(&format!("--users {name}"));
    assert!(open.stderr.contains("is open to others: chmod 600 it"), "{}", open.stderr);
}
