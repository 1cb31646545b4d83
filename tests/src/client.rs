//! A Clerk, with the answers that the tests tell apart.
#![expect(missing_docs, reason = "until the Clerk is there")]
use crate::cli::Ran;
use std::time::Duration;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failed {
    NotDone(String),
    Unknown(String),
}
pub struct Client {
    endpoints: String,
    timeout: Duration,
}
impl Client {
    pub fn new(endpoints: &str, timeout: Duration) -> Client {
        Client { endpoints: endpoints.into(), timeout }
    }
    fn run(&self, args: &[&str]) -> Result<Ran, Failed> {
        let timeout = format!("{}ms", self.timeout.as_millis());
        let mut all = vec!["--endpoints", &self.endpoints, "--timeout", &timeout, "-o", "json"];
        all.extend(args);
        let ran = Ran::kvcli(all);
        match ran.code {
            0 | 1 => Ok(ran),
            3 => Err(Failed::NotDone(ran.stderr)),
            4 => Err(Failed::Unknown(ran.stderr)),
            _ => panic!("{ran}"),
        }
    }
    pub fn append(&mut self, key: &str, value: &str) -> Result<u64, Failed> {
        let ran = self.run(&["append", key, value])?;
        let reply: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("json");
        Ok(reply["version"].as_u64().expect("a version"))
    }
    pub fn put(&mut self, key: &str, value: &str) -> Result<u64, Failed> {
        let ran = self.run(&["put", key, value])?;
        let reply: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("json");
        Ok(reply["version"].as_u64().expect("a version"))
    }
    pub fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failed> {
        let ran = self.run(&["get", key])?;
        if ran.code == 1 {
            return Ok(None);
        }
        let reply: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("json");
        Ok(Some(reply["value"].as_str().expect("text").as_bytes().to_vec()))
    }
}
