//! Who may read the page: whoever knows the token, through this machine's own name.

use std::fmt::Write;

use subtle::ConstantTimeEq;

/// The way to the page: `http://127.0.0.1:PORT/TOKEN/`.
///
/// The token keeps other pages and other users of the machine out. The Host header keeps out pages
/// that had their own name point to 127.0.0.1 (DNS rebinding).
#[derive(Clone)]
pub struct Access {
    token: String,
    hosts: [String; 2],
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The Host header is another one's.
    #[error("this page answers to 127.0.0.1 and localhost alone")]
    Host,
    /// A page of another origin asks.
    #[error("this page does not answer other pages")]
    Origin,
    /// The token is wrong or missing.
    #[error("this page needs the whole address that `ifco view` printed")]
    Token,
}

// The token is a secret: it is not for logs.
impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// A new token of 128 random bits, for a server at this port.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(port: u16) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let mut token = String::with_capacity(32);
        for byte in bytes {
            // Writing to a String does not fail.
            let _ = write!(token, "{byte:02x}");
        }
        Ok(Self {
            token,
            hosts: ["127.0.0.1", "localhost"].map(|name| format!("{name}:{port}")),
        })
    }

    /// The address to open.
    ///
    /// ```
    /// use ifco_view::page::Access;
    /// let url = Access::new(8321).unwrap().url();
    /// assert!(url.starts_with("http://127.0.0.1:8321/"));
    /// assert!(url.len() > "http://127.0.0.1:8321/".len() + 32);
    /// ```
    pub fn url(&self) -> String {
        format!("http://{}/{}/", self.hosts[0], self.token)
    }

    /// What a request asks for below the token: `info`, `step?run=0&trace=1&step=2`.
    ///
    /// # Errors
    /// When it may not ask.
    pub fn check<'a>(
        &self,
        target: &'a str,
        host: Option<&str>,
        origin: Option<&str>,
    ) -> Result<&'a str, Denied> {
        let is_ours = |name: &str| self.hosts.iter().any(|host| host == name);
        if !host.is_some_and(is_ours) {
            return Err(Denied::Host);
        }
        if let Some(origin) = origin {
            let name = origin.strip_prefix("http://");
            if !name.is_some_and(is_ours) {
                return Err(Denied::Origin);
            }
        }
        let (token, rest) = target
            .strip_prefix('/')
            .and_then(|path| path.split_once('/'))
            .ok_or(Denied::Token)?;
        // How long it takes tells nothing of the token. Its length is no secret.
        match bool::from(token.as_bytes().ct_eq(self.token.as_bytes())) {
            true => Ok(rest),
            false => Err(Denied::Token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_with_token_host_and_origin() {
        let access = Access::new(1234).unwrap();
        let target = format!("/{}/info", access.token);
        let ours = Some("127.0.0.1:1234");
        assert_eq!(access.check(&target, ours, None), Ok("info"));
        let origin = Some("http://localhost:1234");
        assert_eq!(
            access.check(&target, Some("localhost:1234"), origin),
            Ok("info")
        );
        for host in [
            None,
            Some("evil.example:1234"),
            Some("127.0.0.1"),
            Some("127.0.0.1:80"),
        ] {
            assert_eq!(
                access.check(&target, host, None),
                Err(Denied::Host),
                "{host:?}"
            );
        }
        for origin in ["null", "http://evil.example", "https://127.0.0.1:1234"] {
            assert_eq!(
                access.check(&target, ours, Some(origin)),
                Err(Denied::Origin)
            );
        }
        let short = format!("/{}/info", &access.token[1..]);
        let other = format!("/{}0/info", &access.token[..31]);
        let bare = format!("/{}", access.token);
        for target in ["", "/", "//info", "/info", "*", &short, &bare] {
            assert_eq!(
                access.check(target, ours, None),
                Err(Denied::Token),
                "{target}"
            );
        }
        // One chance in sixteen that the last digit is a 0.
        if other != target {
            assert_eq!(access.check(&other, ours, None), Err(Denied::Token));
        }
        assert_ne!(Access::new(1).unwrap().token, Access::new(1).unwrap().token);
        assert!(!format!("{access:?}").contains(&access.token));
    }
}
