//! Fitted models, a server process for them, and a minimal HTTP client.
#![allow(dead_code, clippy::unwrap_used)]

use crate::common::{in_folder, ok, rankstill, text};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The data of an experiment; models follow.
pub const LOG: &str = r#"
[data]
simulate = { interactions = 4_000, seed = 3 }
filter = { user_core = 5 }
[evaluate]
metrics = ["ndcg@10"]
latency_seconds = 0.0
"#;
const FITTED: &str = r#"
[models.POP]
kind = "pop"
[models.ItemCF]
kind = "item_cf"
[models.MF]
kind = "bpr_mf"
dim = 8
train = { epochs = 3 }
[models.Fossil]
kind = "fossil"
dim = 6
order = 3
train = { epochs = 2 }
[models.Caser]
kind = "caser"
dim = 8
length = 3
horizontal_filters = 4
train = { epochs = 2 }
"#;
pub const MODELS: [&str; 5] = ["MF", "POP", "ItemCF", "Fossil", "Caser"];

/// Fits the models of [`FITTED`]; returns them as `NAME=FOLDER`.
pub fn models() -> (tempfile::TempDir, Vec<String>) {
    let (root, file) = in_folder(&format!("{LOG}{FITTED}"));
    let out = root.path().join("run");
    ok(&mut rankstill(&["run", text(&file), "--quiet", "--out", text(&out)]));
    let folder = |name: &&str| format!("{name}={}", artefact(&out, name).display());
    (root, MODELS.iter().map(folder).collect())
}

pub fn artefact(run: &Path, name: &str) -> PathBuf {
    run.join("models").join(name).join("seed-1/artefact")
}

pub fn id(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub fn list(answer: &Value) -> Vec<(String, f32)> {
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    items.iter().map(|item| (id(&item["item"]), item["score"].as_f64().unwrap() as f32)).collect()
}

/// `rankstill serve`, killed when dropped.
pub struct Server {
    pub child: Child,
    pub address: String,
}

impl Server {
    /// Starts it on a free port and waits until it listens.
    pub fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rankstill"));
        command.args(["serve", "--quiet", "--listen", "127.0.0.1:0"]).args(args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        Self { address: address.to_owned(), child }
    }

    pub fn connect(&self) -> Connection {
        Connection::open(&self.address).unwrap()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A keep-alive connection.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub fn get(&mut self, path: &str) -> (u16, Value) {
        self.send("GET", path, &Value::Null).unwrap()
    }

    pub fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, body).unwrap()
    }

    /// Status and body; an error if the server is gone.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> std::io::Result<(u16, Value)> {
        self.send_with(method, path, body, None)
    }

    pub fn send_with(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> std::io::Result<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let key = key.map_or(String::new(), |key| format!("authorization: Bearer {key}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{key}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.read()
    }

    pub fn raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn read(&mut self) -> std::io::Result<(u16, Value)> {
        let gone = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(gone());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.starts_with("http/1.1 ") {
                status = line[9..12].parse().map_err(|_| gone())?;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().map_err(|_| gone())?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}
