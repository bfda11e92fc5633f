//! Who may log in, what for, and what a stranger is told.

use ftpish_client::{By, Client, Error, Login, Options, Progress};
use ftpish_protocol::{Algorithm, Code, PrivateKey, Secret};
use ftpish_server::{Accounts, Rights, User, Users, hash};

use crate::harness::{Listen, TestServer, eventually, path};

pub fn accounts(anonymous: Option<Rights>) -> Accounts {
    let mut users = Users::default();
    let mut reader = User::new(hash(&Secret::new("letters".to_owned())).unwrap());
    reader.rights = Some(Rights::READ.to_vec());
    assert!(users.add("reader", reader));
    assert!(users.add("ada", User::new(hash(&Secret::new("open sesame".to_owned())).unwrap())));
    assert!(users.add("nobody", User { password: None, ..User::new(String::new()) }));
    Accounts::new(users, anonymous)
}

fn server(listen: Listen, anonymous: Option<Rights>) -> TestServer {
    TestServer::with(|setup| {
        setup.listen = listen;
        setup.accounts = Some(accounts(anonymous));
    })
}

/// Makes a directory as this user, and tells what was said to that.
fn mkdir(server: &TestServer, login: Option<(&str, &str)>) -> Result<(), Code> {
    log_in(server, login.map(|(user, password)| (user, By::Password(secret(password))))).map(drop)
}

/// The same by any proof; and the ticket for the next time, if there was one.
fn log_in(server: &TestServer, login: Option<(&str, By)>) -> Result<Option<Secret>, Code> {
    let login = login.map(|(user, by)| Login { user: user.to_owned(), by });
    let mut client = Client::connect(&Options { login, ..server.options() }).unwrap();
    let made = client.mkdir(&"made".parse().unwrap(), true);
    made.map(|()| client.ticket().cloned()).map_err(|error| match error {
        Error::Refused(refusal) => refusal.code,
        error => panic!("{error}"),
    })
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

#[test]
fn a_ticket_logs_its_user_in_and_earns_no_other() {
    let server = server(Listen::Unix, None);
    let password = By::Password(secret("open sesame"));
    let ticket = log_in(&server, Some(("ada", password))).unwrap().unwrap();
    let by = |user, ticket: &Secret| log_in(&server, Some((user, By::Ticket(ticket.clone()))));
    assert_eq!(by("ada", &ticket), Ok(None));
    let cut = secret(&ticket.reveal()[1..]);
    for (user, ticket) in [("reader", &ticket), ("eve", &ticket), ("nobody", &ticket), ("ada", &cut)] {
        assert_eq!(by(user, ticket), Err(Code::TicketRefused), "{user}");
    }
}

#[test]
fn tickets_of_another_server_are_no_wrong_passwords_and_lock_nobody_out() {
    let (one, other) = (server(Listen::Ipv4, None), server(Listen::Ipv4, None));
    let password = || By::Password(secret("open sesame"));
    let ticket = log_in(&one, Some(("ada", password()))).unwrap().unwrap();
    for _ in 0..100 {
        let foreign = log_in(&other, Some(("ada", By::Ticket(ticket.clone()))));
        assert_eq!(foreign, Err(Code::TicketRefused));
    }
    assert!(log_in(&other, Some(("ada", password()))).unwrap().is_some());
    assert_eq!(log_in(&one, Some(("ada", By::Ticket(ticket)))), Ok(None), "its own takes it");
    let codes: Vec<_> =
        (0..5).map(|_| log_in(&other, Some(("ada", By::Password(secret("wrong")))))).collect();
    assert_eq!(codes.last(), Some(&Err(Code::LockedOut)), "passwords are counted as before");
}

#[test]
fn a_key_logs_its_user_in_and_nobody_else_and_earns_a_ticket() {
    let key = || PrivateKey::generate("ada").unwrap();
    let (old, new, foreign) = (key(), key(), key());
    for tls in [false, true] {
        let mut users = Users::default();
        let mut ada = User::new(hash(&secret("open sesame")).unwrap());
        ada.keys = vec![old.public(), new.public()];
        assert!(users.add("ada", ada) && users.add("eve", User::new(hash(&secret("letters")).unwrap())));
        let server = TestServer::with(|setup| {
            if tls {
                setup.encrypted();
            }
            setup.accounts = Some(Accounts::new(users, None));
        });
        let by = |user, key: &PrivateKey| log_in(&server, Some((user, By::Key(Box::new(key.clone())))));
        for own in [&old, &new] {
            let ticket = by("ada", own).unwrap().unwrap();
            assert_eq!(log_in(&server, Some(("ada", By::Ticket(ticket)))), Ok(None));
        }
        for (user, key) in [("ada", &foreign), ("eve", &old), ("nobody", &old), ("", &old)] {
            assert_eq!(by(user, key), Err(Code::LoginFailed), "{user}");
        }
    }
}

#[test]
fn only_the_right_password_opens_and_rights_hold_behind_it() {
    let server = server(Listen::Unix, None);
    assert_eq!(mkdir(&server, None), Err(Code::LoginRequired));
    for wrong in [("ada", "open sesam"), ("ada", ""), ("eve", "open sesame"), ("nobody", ""), ("nobody", "x")]
    {
        assert_eq!(mkdir(&server, Some(wrong)), Err(Code::LoginFailed), "{wrong:?}");
    }
    assert_eq!(mkdir(&server, Some(("reader", "letters"))), Err(Code::Forbidden));
    assert_eq!(mkdir(&server, Some(("ada", "open sesame"))), Ok(()));
}

#[test]
fn beside_accounts_strangers_have_the_anonymous_rights() {
    let server = server(Listen::Unix, Some(Rights::new(&Rights::READ, Vec::new())));
    assert_eq!(mkdir(&server, None), Err(Code::Forbidden));
    assert_eq!(mkdir(&server, Some(("ada", "open sesame"))), Ok(()));
}

/// A server for `ada` alone, who is as `change` says.
pub fn server_for(change: impl FnOnce(&mut User)) -> TestServer {
    TestServer::with(|setup| {
        let mut ada = User::new(hash(&Secret::new("open sesame".to_owned())).unwrap());
        change(&mut ada);
        let mut users = Users::default();
        assert!(users.add("ada", ada));
        setup.accounts = Some(Accounts::new(users, None));
    })
}

pub fn ada(server: &TestServer) -> Client {
    log_in_as(server, "ada")
}

/// A client of a user with ada's password.
pub fn log_in_as(server: &TestServer, user: &str) -> Client {
    let by = By::Password(Secret::new("open sesame".to_owned()));
    let login = Some(Login { user: user.to_owned(), by });
    Client::connect(&Options { login, ..server.options() }).unwrap()
}

/// Users with so many bytes each in the server's root; 0 is no bound. Everybody else may do everything there, too.
pub fn accounts_with_quotas(quotas: &[(&str, u64)]) -> Accounts {
    let hash = hash(&Secret::new("open sesame".to_owned())).unwrap();
    let mut users = Users::default();
    for (name, bytes) in quotas {
        let quota_bytes = std::num::NonZeroU64::new(*bytes);
        assert!(users.add(name, User { quota_bytes, ..User::new(hash.clone()) }));
    }
    Accounts::new(users, Some(Rights::new(&Rights::ALL, Vec::new())))
}

#[test]
fn a_user_with_a_root_of_ones_own_reaches_that_and_nothing_else() {
    let apart = tempfile::tempdir().unwrap();
    for (root, own) in [("home/ada".into(), None), (apart.path().to_owned(), Some(apart.path()))] {
        let server = server_for(|ada| ada.root = Some(root));
        std::fs::create_dir_all(server.path("home/ada")).unwrap();
        let own = own.map_or(server.path("home/ada"), ToOwned::to_owned);
        server.write("others", "");
        let mut client = ada(&server);
        client.mkdir(&path("made"), false).unwrap();
        assert!(own.join("made").is_dir());
        for outside in ["others", "home"] {
            let refused = client.stat(&path(outside)).unwrap_err();
            assert!(matches!(&refused, Error::Refused(refusal) if refusal.code == Code::NotFound));
        }
        std::os::unix::fs::symlink("../..", own.join("up")).unwrap();
        assert!(client.ls(&path("up"), &mut |_| Ok(())).is_err());
    }
}

#[test]
fn a_root_that_is_not_there_lets_nobody_in_and_is_not_told_of() {
    let server = server_for(|ada| ada.root = Some("nowhere".into()));
    let refused = ada(&server).df(&path(".")).unwrap_err().to_string();
    assert!(refused.contains("the directory of this user cannot be served"), "{refused}");
    assert!(!refused.contains("nowhere"), "{refused}");
}

#[test]
fn a_user_has_so_many_connections_and_no_more() {
    let server = server_for(|ada| ada.connections = std::num::NonZeroU16::new(2));
    let (mut one, mut two) = (ada(&server), ada(&server));
    one.df(&path(".")).unwrap();
    two.df(&path(".")).unwrap();
    let refused = ada(&server).df(&path(".")).unwrap_err();
    assert!(matches!(&refused, Error::Refused(refusal) if refusal.code == Code::Busy), "{refused}");
    two.df(&path(".")).unwrap();
    drop(one);
    eventually("a free place", || ada(&server).df(&path(".")).ok());
}

#[test]
fn all_connections_of_a_user_share_the_bandwidth() {
    const RATE: u64 = 256 * 1024;
    let server = server_for(|ada| ada.bandwidth = Some(RATE));
    server.write("file", vec![7; 64 * 1024]);
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut got = vec![];
                ada(&server).get(&path("file"), Algorithm::Md5, &mut got, &Progress::default()).unwrap();
                assert!(got == [7; 64 * 1024]);
            });
        }
    });
    // It cannot be less, however fast the machine: a second's worth moved, of which a quarter may be saved up.
    assert!(began.elapsed() >= std::time::Duration::from_millis(700));
}

#[test]
fn guessing_locks_the_address_out_even_for_the_right_password() {
    let server = server(Listen::Ipv4, None);
    // The waits grow to more than a second before the loop can be as slow as that.
    let codes: Vec<_> = (0..12).map(|_| mkdir(&server, Some(("ada", "guess")))).collect();
    assert_eq!(codes[..3], [Err(Code::LoginFailed); 3]);
    assert!(codes.contains(&Err(Code::LockedOut)), "{codes:?}");
    assert_eq!(mkdir(&server, Some(("ada", "open sesame"))), Err(Code::LockedOut));
}
