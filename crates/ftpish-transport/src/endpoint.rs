//! Where a server listens and a client connects: TCP or a Unix socket.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use ftpish_protocol::DEFAULT_PORT;
use socket2::{Domain, Protocol, SockAddr, Type};

/// How many connections the kernel may hold that were not yet accepted.
const BACKLOG: i32 = 1024;

/// A place to listen on or to connect to. Written `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT`, `:PORT` (every
/// address, to listen on) or `unix:PATH`. An IPv6 address may have a zone, `fe80::1%eth0` (RFC 4007, section 11).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A host name or an IP address without brackets, and a TCP port.
    Tcp(String, u16),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Connects, trying each address that the host's name has, within `limit` in all.
    pub fn connect(&self, limit: Duration) -> io::Result<socket2::Socket> {
        let until = Instant::now() + limit;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host's name has no address");
        let addresses = self.addresses()?;
        for (tried, address) in addresses.iter().enumerate() {
            // An address that leads nowhere must leave the next ones some time.
            let share = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let left = until.saturating_duration_since(Instant::now()) / share;
            let left = left.max(Duration::from_millis(1));
            let socket = new_socket(address)?;
            match socket.connect_timeout(address, left) {
                Ok(()) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Binds and listens. A TCP port may be reused at once after a restart. A Unix socket that nobody listens on
    /// any more is replaced; one that somebody listens on is an error.
    pub fn listen(&self) -> io::Result<socket2::Socket> {
        if let Self::Unix(path) = self {
            remove_stale_socket(path)?;
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host's name has no address");
        for address in self.addresses()? {
            match listen_on(&address) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The endpoint that `socket` listens on, with the port that the system chose where port 0 was asked.
    pub fn of(socket: &socket2::Socket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        match address.as_socket() {
            Some(address) => Ok(Self::of_address(address)),
            None => Ok(Self::Unix(address.as_pathname().unwrap_or("".as_ref()).to_owned())),
        }
    }

    fn of_address(address: SocketAddr) -> Self {
        let zone = match address {
            SocketAddr::V6(ip) if ip.scope_id() > 0 => format!("%{}", ip.scope_id()),
            _ => String::new(),
        };
        Self::Tcp(format!("{}{zone}", address.ip()), address.port())
    }

    /// The same in a URL, where the `%` of a zone is written `%25` (RFC 6874).
    pub fn in_url(&self) -> String {
        self.to_string().replace('%', "%25")
    }

    /// Takes away what [`listen`](Self::listen) left in the file system: the name of a Unix socket.
    pub fn remove(&self) -> io::Result<()> {
        match self {
            Self::Unix(path) => std::fs::remove_file(path),
            Self::Tcp(..) => Ok(()),
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(host, _) => {
                host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
            }
        }
    }

    fn addresses(&self) -> io::Result<Vec<SockAddr>> {
        match self {
            Self::Unix(path) => Ok(vec![SockAddr::unix(path)?]),
            Self::Tcp(host, port) => {
                Ok((host.as_str(), *port).to_socket_addrs()?.map(SockAddr::from).collect())
            }
        }
    }
}

fn new_socket(address: &SockAddr) -> io::Result<socket2::Socket> {
    let protocol = if address.is_unix() { None } else { Some(Protocol::TCP) };
    socket2::Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, protocol)
}

fn listen_on(address: &SockAddr) -> io::Result<socket2::Socket> {
    let socket = new_socket(address)?;
    if let Some(ip) = address.as_socket() {
        socket.set_reuse_address(true)?;
        if let SocketAddr::V6(ip) = ip {
            // `[::]` takes IPv4 clients too, unless IPv4 was bound beside it: then each has its own.
            socket.set_only_v6(!ip.ip().is_unspecified())?;
        }
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn remove_stale_socket(path: &PathBuf) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        _ => return Ok(()),
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "a server listens there already")),
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(EndpointError::NoPath) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or(EndpointError::Bracket)?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').unwrap_or(after)) })
            }
            // More than one colon without brackets: an IPv6 address and no port.
            None if text.matches(':').count() > 1 => (text, None),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port.parse().map_err(|_| EndpointError::Port(port.to_owned()))?,
        };
        match host {
            "" if text.starts_with(':') => Ok(Self::Tcp("::".to_owned(), port)),
            "" => Err(EndpointError::NoHost),
            host => Ok(Self::Tcp(host.to_owned(), port)),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(out, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(out, "{host}:{port}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// Why text is not an [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// There is nothing before the port.
    #[error("there is no host")]
    NoHost,
    /// There is nothing behind `unix:`.
    #[error("there is no path behind `unix:`")]
    NoPath,
    /// A `[` without its `]`.
    #[error("the `[` before the IPv6 address is never closed")]
    Bracket,
    /// What stands where the port belongs.
    #[error("`{0}` is not a port: 0 to 65535")]
    Port(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(text.parse::<Endpoint>().map(|e| e.to_string()), Ok(shown.to_owned()));
    }

    #[test]
    fn every_way_to_write_an_endpoint() {
        check("example.org", "example.org:2121");
        check("example.org:99", "example.org:99");
        check("127.0.0.1", "127.0.0.1:2121");
        check("::1", "[::1]:2121");
        check("[::1]", "[::1]:2121");
        check("[::1]:0", "[::1]:0");
        check(":2121", "[::]:2121");
        check("unix:/run/ftpish.sock", "unix:/run/ftpish.sock");
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        let why = |text: &str| text.parse::<Endpoint>().unwrap_err();
        assert_eq!(why(""), EndpointError::NoHost);
        assert_eq!(why("unix:"), EndpointError::NoPath);
        assert_eq!(why("[::1"), EndpointError::Bracket);
        assert_eq!(why("host:65536"), EndpointError::Port("65536".to_owned()));
        assert_eq!(why("host:"), EndpointError::Port(String::new()));
        assert_eq!(why("[::1]2121x"), EndpointError::Port("2121x".to_owned()));
    }

    #[test]
    fn a_unix_socket_left_behind_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Unix(dir.path().join("socket"));
        let live = endpoint.listen().unwrap();
        assert_eq!(Endpoint::of(&live).unwrap(), endpoint);
        assert_eq!(endpoint.listen().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(live);
        endpoint.listen().unwrap();
        endpoint.remove().unwrap();
        assert!(endpoint.connect(Duration::from_secs(5)).is_err());
    }

    #[test]
    fn port_zero_becomes_a_real_port_that_can_be_connected_to() {
        for host in ["127.0.0.1", "::1"] {
            let listener = Endpoint::Tcp(host.to_owned(), 0).listen().unwrap();
            let endpoint = Endpoint::of(&listener).unwrap();
            assert!(endpoint.is_local());
            endpoint.connect(Duration::from_secs(5)).unwrap();
        }
    }

    #[test]
    fn a_zone_is_part_of_the_address_and_is_written_as_urls_have_it() {
        let address = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 2121, 0, 7);
        let endpoint = Endpoint::of_address(address.into());
        assert_eq!(endpoint.to_string(), "[fe80::1%7]:2121");
        assert_eq!(endpoint.to_string().parse(), Ok(endpoint.clone()));
        assert_eq!(endpoint.in_url(), "[fe80::1%257]:2121");
        let found = endpoint.addresses().unwrap();
        assert_eq!(found[0].as_socket(), Some(address.into()), "the system knows what it means");
        assert_eq!(Endpoint::of_address("[::1]:9".parse().unwrap()).to_string(), "[::1]:9");
    }
}
