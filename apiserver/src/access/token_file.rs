//! `--token-auth-file`: tokens that an administrator has written down, and whose they are
//! (`k8s.io/apiserver/pkg/authentication/token/tokenfile`).

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};
use auth::UserInfo;

/// By their tokens.
#[derive(Debug, Default)]
pub struct TokenFile(HashMap<String, UserInfo>);

impl TokenFile {
    /// # Errors
    /// The file cannot be read, or a line of it has fewer than three columns.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::open(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(file, &path.display().to_string())
    }

    fn parse(lines: impl Read, name: &str) -> anyhow::Result<Self> {
        let mut users = HashMap::new();
        for (line, record) in
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(lines).records().enumerate()
        {
            let record = record.with_context(|| format!("read {name}"))?;
            let columns = record.len();
            ensure!(
                columns >= 3,
                "token file '{name}' must have at least 3 columns (token, user name, user uid), found {columns}"
            );
            if record[0].is_empty() {
                tracing::warn!("empty token has been found in token file '{name}', record number '{}'", line + 1);
                continue;
            }
            let groups =
                record.get(3).filter(|groups| !groups.is_empty()).into_iter().flat_map(|groups| groups.split(','));
            let mut user = UserInfo::new(&record[1], groups).authenticated();
            user.uid = record[2].to_owned();
            if users.insert(record[0].to_owned(), user).is_some() {
                tracing::warn!("duplicate token has been found in token file '{name}', record number '{}'", line + 1);
            }
        }
        Ok(Self(users))
    }

    /// Whose this token is.
    #[must_use]
    pub fn user(&self, token: &str) -> Option<&UserInfo> {
        self.0.get(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_their_tokens() {
        let text = "t1,alice,1,\"dev,ops\"\nt2,bob,2\n,nobody,3\nt2,\"bob, again\",4,\n";
        let file = TokenFile::parse(text.as_bytes(), "tokens").unwrap();
        let seen =
            |token: &str| file.user(token).map(|user| (user.username.clone(), user.uid.clone(), user.groups.join(" ")));
        let user = |name: &str, uid: &str, groups: &str| Some((name.to_owned(), uid.to_owned(), groups.to_owned()));
        assert_eq!(seen("t1"), user("alice", "1", "dev ops system:authenticated"));
        assert_eq!(seen("t2"), user("bob, again", "4", "system:authenticated"));
        assert_eq!((seen(""), seen("t3")), (None, None));
        let short = TokenFile::parse(&b"a,b"[..], "tokens").unwrap_err().to_string();
        assert_eq!(short, "token file 'tokens' must have at least 3 columns (token, user name, user uid), found 2");
    }
}
