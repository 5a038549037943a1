//! The names by which clients may ask for the server. A page of another site whose name was made to point
//! here (DNS rebinding) reaches the server in the browser of a user inside the network, but under its own name.

use crate::wire::Problem;
use crate::{Error, Result};
use axum::extract::Request;
use axum::http::{Version, header, uri::Authority};
use std::net::{IpAddr, SocketAddr};

/// Names and addresses that the header `Host` may hold. Ports are not compared: they change on the way.
#[derive(Debug)]
pub(crate) struct Hosts {
    names: Vec<String>,
    address: IpAddr,
}

impl Hosts {
    /// Names of loopback, the address, and `names`.
    ///
    /// # Errors
    /// If one is no name of a host.
    pub fn new(listened_on: SocketAddr, names: &[String]) -> Result<Self> {
        let name = |name: &String| match host(name) {
            Some(host) if host.len() == name.trim_end_matches('.').len() => Ok(host),
            _ => Err(Error::Setting {
                key: "host".into(),
                problem: format!(
                    "expected a name without a port, such as shop.example, found `{name}`"
                ),
            }),
        };
        let names = names.iter().map(name).collect::<Result<Vec<String>>>()?;
        Ok(Self { names, address: listened_on.ip() })
    }

    /// Whether clients may use any name: nobody said which, and the address is a wildcard.
    fn any(&self) -> bool {
        self.names.is_empty() && self.address.is_unspecified()
    }

    /// # Errors
    /// If the request names no host, several, or one that is not allowed. Only health checks may name none: those of load
    /// balancers often do not.
    pub fn check(&self, request: &Request) -> std::result::Result<(), Problem> {
        let mut given = request.headers().get_all(header::HOST).iter();
        let problem = |detail: String| Err(Problem::unreadable(detail));
        let host = match (given.next(), given.next()) {
            (Some(one), None) => one.to_str().ok().and_then(host),
            (Some(_), Some(_)) => {
                return problem("expected one header `host`, found several".into());
            }
            (None, _) if request.uri().path().starts_with("/health/") => return Ok(()),
            (None, _) => {
                let version = request.version();
                let old = if version < Version::HTTP_11 { ", also in HTTP/1.0" } else { "" };
                return problem(format!("expected the header `host`{old}, found none"));
            }
        };
        let Some(host) = host else {
            return problem("expected the header `host` to hold a name or an address".into());
        };
        // The target of a request may name a host too, and then that one counts.
        let target = request.uri().authority().map(|one| lower(one.host()));
        match [Some(host), target].into_iter().flatten().find(|host| !self.allow(host)) {
            Some(foreign) => Err(Problem::misdirected(&foreign)),
            None => Ok(()),
        }
    }

    fn allow(&self, host: &str) -> bool {
        if self.any() || host == "localhost" || self.names.iter().any(|name| name == host) {
            return true;
        }
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        address.is_ok_and(|address| address.is_loopback() || address == self.address)
    }
}

/// The host of `HOST[:PORT]` in lower case.
fn host(given: &str) -> Option<String> {
    let authority: Authority = given.parse().ok()?;
    let named = !authority.host().is_empty() && !given.contains('@');
    named.then(|| lower(authority.host()))
}

fn lower(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::body::Body;

    fn status(hosts: &Hosts, given: &[&str], target: &str) -> u16 {
        let mut request = axum::http::Request::get(target);
        for host in given {
            request = request.header(header::HOST, *host);
        }
        let request = request.body(Body::empty()).unwrap();
        hosts.check(&request).map_or_else(|problem| problem.status, |()| 200)
    }

    #[test]
    fn foreign_names_are_refused_and_ones_own_are_not() {
        let local = Hosts::new(([127, 0, 0, 1], 8080).into(), &["Shop.Example".into()]).unwrap();
        for own in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "shop.example.",
            "shop.example:443",
        ] {
            assert_eq!(status(&local, &[own], "/v1/models"), 200, "{own}");
        }
        for foreign in
            ["evil.example", "localhost.evil.example", "10.0.0.1", "[::2]", "shop.example.evil"]
        {
            assert_eq!(status(&local, &[foreign], "/v1/models"), 421, "{foreign}");
        }
        for none in [&[][..], &["a", "a"], &[""], &["a@localhost"], &["a b"]] {
            assert_eq!(status(&local, none, "/v1/models"), 400, "{none:?}");
        }
        assert_eq!(status(&local, &[], "/health/live"), 200);
        assert_eq!(status(&local, &["evil.example"], "/health/live"), 421);
        assert_eq!(status(&local, &["localhost"], "http://evil.example/v1/models"), 421);
        let inside = Hosts::new(([10, 0, 0, 1], 8080).into(), &[]).unwrap();
        assert_eq!(status(&inside, &["10.0.0.1:8080"], "/"), 200);
        assert_eq!(status(&inside, &["10.0.0.2"], "/"), 421);
    }

    #[test]
    fn on_a_wildcard_every_name_will_do_until_some_are_given() {
        let wildcard = SocketAddr::from(([0, 0, 0, 0], 80));
        assert_eq!(status(&Hosts::new(wildcard, &[]).unwrap(), &["any.example"], "/"), 200);
        assert_eq!(status(&Hosts::new(wildcard, &[]).unwrap(), &[], "/"), 400);
        let named = Hosts::new(wildcard, &["shop.example".into()]).unwrap();
        assert_eq!(status(&named, &["any.example"], "/"), 421);
        assert_eq!(status(&named, &["shop.example"], "/"), 200);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for wrong in ["", "a:80", "http://a", "a/b", "a b"] {
            let error = Hosts::new(([127, 0, 0, 1], 80).into(), &[wrong.into()]).unwrap_err();
            assert!(error.to_string().starts_with("host: expected a name"), "{error}");
        }
    }
}
