//! The command line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokengate_core::chain::ChainIdError;
use tokengate_core::{Address, ChainId};
use url::Url;

use crate::access_log::Format;
use crate::body::BLOCK;
use crate::clients::ClientLimits;
use crate::core::CoreLimits;
use crate::engine::InstanceLimits;
use crate::request::RequestLimits;
use crate::server::ServerConfig;
use crate::workers::Reuse;

/// A thread computes one request at a time. A few more keep it busy while one ends and the next begins; many more cost
/// an instance's memory each and answer no sooner.
const COMPUTING_PER_THREAD: usize = 8;

/// What a client other than a proxy never needs: as many as there may be requests in flight, a tenth of all connections.
const CLIENT_CONNECTIONS: usize = 1000;
const CLIENT_WAITING: usize = 256;

/// Serves a Spin application (spin.toml, manifest version 2) on an embedded WebAssembly host.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve an application until SIGINT or SIGTERM
    Up(Box<Up>),
    /// Say what is wrong with configuration, providers and buckets, before the first request finds out
    #[command(after_help = DOCTOR_CODES)]
    Doctor(Doctor),
    /// Explain what a gate says of an address, read from the chain now or at a past block
    #[command(after_help = CHECK_CODES)]
    Check(Box<Check>),
    /// Have a running service follow the transfers of gated tokens, so that they close gates within seconds
    #[command(after_help = WATCH_HELP)]
    Watch(Watch),
    /// Have a running service read what gates rest on for a list of addresses, before they all come at once
    #[command(after_help = WARM_HELP)]
    Warm(Warm),
    /// List what a component, or every component of a spin.toml, imports and exports
    Imports {
        /// A .wasm component or a spin.toml
        #[arg(default_value = "spin.toml")]
        file: PathBuf,
    },
}

const DOCTOR_CODES: &str = "Exit code: 0 nothing is failing, 1 something is, 2 the manifest or the configuration cannot be used";
const CHECK_CODES: &str = "Exit code: 0 open, 1 closed, 2 the arguments or the configuration cannot be used, 3 nobody could find out";

const WARM_HELP: &str = "The token is the value of the service's variable admin_token, in the environment variable TOKENGATE_ADMIN_TOKEN or in a file.\nExit code: 0 all well, 1 something could not be read, 2 it cannot start";

const WATCH_HELP: &str = "The token is the value of the service's variable admin_token, in the environment variable TOKENGATE_ADMIN_TOKEN or in a file.\nEnds with SIGINT or SIGTERM. Exit code: 0 all well, 1 with --once: something failed, 2 it cannot start";

/// Which application, and the values of its variables.
#[derive(Clone, Debug, Args)]
pub(crate) struct Origin {
    /// The application's manifest
    #[arg(short, long, default_value = "spin.toml", value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// Give an application variable: NAME=VALUE, or NAME=@FILE for a file's content (also SPIN_VARIABLE_<NAME>)
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<Variable>,
}

/// The demo of `scripts/up` in place of another application.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoOption {
    /// The demo that scripts/up runs, by the description that it keeps while it runs [default: .spin/demo.json]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = ".spin/demo.json", conflicts_with = "from")]
    pub(crate) demo: Option<PathBuf>,
}

/// Where key-value stores are.
#[derive(Clone, Debug, Args)]
pub(crate) struct Stores {
    /// Spin's runtime configuration: where key-value stores keep their data
    #[arg(long, value_name = "FILE")]
    pub(crate) runtime_config_file: Option<PathBuf>,
    /// Where embedded stores live [default: .spin/tokengate beside the manifest]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

impl Origin {
    /// The variables given on the command line.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let given = self.variables.iter();
        given
            .map(|given| (given.name.clone(), given.value.clone()))
            .collect()
    }

    /// The application of another manifest, with these variables besides those given, which go before them.
    pub(crate) fn over(&self, manifest: &Path, variables: &BTreeMap<String, String>) -> Self {
        let others = variables.iter().map(|(name, value)| Variable {
            name: name.clone(),
            value: value.clone(),
        });
        Self {
            from: manifest.to_owned(),
            variables: others.chain(self.variables.iter().cloned()).collect(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) origin: Origin,
    #[command(flatten)]
    pub(crate) demo: DemoOption,
    #[command(flatten)]
    pub(crate) stores: Stores,
    /// One JSON document in place of tables
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The gate's id in tokengate.toml
    pub(crate) gate: String,
    /// Whom it is asked about
    pub(crate) address: Address,
    /// Read at this block, or with eip155:<id>=N at this block of one of several chains; may be given once for each
    #[arg(long = "block", value_name = "[CHAIN=]N", value_parser = at_block)]
    pub(crate) blocks: Vec<AtBlock>,
    /// A vault whose delegate the address claims to be
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) vault: Option<Address>,
    #[command(flatten)]
    pub(crate) origin: Origin,
    #[command(flatten)]
    pub(crate) demo: DemoOption,
    /// One JSON document in place of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// A running service, and what opens `/v1/admin` of it.
#[derive(Debug, Args)]
pub(crate) struct Service {
    /// Where the service is
    #[arg(long, default_value = "http://127.0.0.1:3000", value_name = "URL", value_parser = service)]
    pub(crate) url: Url,
    /// A file with the token
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The demo that scripts/up runs, by the description that it keeps while it runs [default: .spin/demo.json]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = ".spin/demo.json", conflicts_with_all = ["url", "token_file"])]
    pub(crate) demo: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Warm {
    #[command(flatten)]
    pub(crate) service: Service,
    /// The id of a gate that they will come to; may be given several times [default: all gates]
    #[arg(long = "gate", value_name = "ID")]
    pub(crate) gates: Vec<String>,
    /// A file with an address on each line, or - for standard input; lines that begin with # are passed over
    #[arg(long, value_name = "FILE")]
    pub(crate) addresses: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) service: Service,
    /// From round to round; longer after failures
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = duration)]
    pub(crate) every: Duration,
    /// One round, and then end
    #[arg(long)]
    pub(crate) once: bool,
}

/// A block, of the only chain or of a named one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtBlock {
    pub(crate) chain: Option<ChainId>,
    pub(crate) number: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) origin: Origin,
    /// Address to listen on, for HTTP/1.1; port 0 takes a free one. TLS and HTTP/2 are for a proxy in front
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDRESS")]
    listen: SocketAddr,
    #[command(flatten)]
    pub(crate) stores: Stores,
    /// Where compiled components are kept; must be writable by this user alone [default: tokengate in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Log of requests, on stderr
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    access_log: Format,
    /// Do not look at the contracts that gates name once the application is served
    #[arg(long)]
    pub(crate) no_contract_check: bool,
    /// Threads that serve [default: one per core]
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,

    /// Requests that one instance answers before it is replaced
    #[arg(long, default_value = "1000", value_name = "N", value_parser = positive, help_heading = "Instances")]
    max_instance_reuse_count: usize,
    /// Requests that one instance answers at once, a further one only while the others wait
    #[arg(long, default_value = "16", value_name = "N", value_parser = positive, help_heading = "Instances")]
    max_instance_concurrent_reuse_count: usize,
    /// How long an idle instance is kept
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration, help_heading = "Instances")]
    idle_instance_timeout: Duration,
    /// Instances of all components together
    #[arg(long, default_value = "1000", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Instances")]
    max_instances: u32,
    /// Memory of one instance
    #[arg(long, default_value = "64MiB", value_name = "SIZE", value_parser = size, help_heading = "Instances")]
    max_instance_memory: u64,

    /// From a request's head to its response's; as long again for the response's body and work after it
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = duration, help_heading = "Limits")]
    request_timeout: Duration,
    /// For a request's head, and for an idle connection's next request
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration, help_heading = "Limits")]
    header_timeout: Duration,
    /// Request body size, answered with 413 beyond it
    #[arg(long, default_value = "1MiB", value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    max_request_body: u64,
    /// Memory for the request bodies of all connections, a quarter of it for one client at most; further ones are not
    /// read until there is some, and get 503 when the request timeout passes. At least 64KiB
    #[arg(long, default_value = "64MiB", value_name = "SIZE", value_parser = body_memory, help_heading = "Limits")]
    max_body_memory: u64,
    /// Open connections; further ones wait to be accepted. Never more than the process may have open files for
    #[arg(long, default_value = "10000", value_name = "N", value_parser = positive, help_heading = "Limits")]
    max_connections: usize,
    /// Open connections of one client, which is an IPv4 address, an IPv6 /64, or, with four times as many, a /48; 0 for
    /// no bound. To this host a proxy is one client: with a proxy on another machine raise it or give 0. Loopback
    /// addresses have no bound unless this is given [default: 1000]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_client_connections: Option<usize>,
    /// Those of them that are idle or have sent a request in part; beyond it the longest waiting is closed. 0 for no bound
    /// [default: 256]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_client_waiting: Option<usize>,
    /// Requests admitted at once; further ones wait, and get 503 when the request timeout passes
    #[arg(long, default_value = "1000", value_name = "N", value_parser = positive, help_heading = "Limits")]
    max_in_flight: usize,
    /// Requests computing at once, which those waiting for outbound calls do not count to [default: 8 per thread]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Limits")]
    max_computing: Option<usize>,
    /// How long requests in progress may take to end when the host is stopped
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration, help_heading = "Limits")]
    drain_timeout: Duration,
}

/// A given variable. Its value may be secret.
#[derive(Clone)]
struct Variable {
    name: String,
    value: String,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variable")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Up {
    pub(crate) fn instance_limits(&self) -> InstanceLimits {
        InstanceLimits {
            instances: self.max_instances,
            memory_bytes: usize::try_from(self.max_instance_memory).unwrap_or(usize::MAX),
        }
    }

    /// What the command line says of one client, else these.
    fn client_limits(&self, connections: usize, waiting: usize) -> ClientLimits {
        // Whoever wants no bound on a proxy's connections wants none on its idle ones.
        let waiting = match self.max_client_connections {
            Some(0) => 0,
            _ => waiting,
        };
        ClientLimits {
            connections: self.max_client_connections.unwrap_or(connections),
            waiting: self.max_client_waiting.unwrap_or(waiting),
        }
    }

    pub(crate) fn server_config(&self) -> ServerConfig {
        let threads = self
            .threads
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
            .unwrap_or(1);
        ServerConfig {
            listen: self.listen,
            threads,
            connections: self.max_connections,
            client: self.client_limits(CLIENT_CONNECTIONS, CLIENT_WAITING),
            loopback_client: self.client_limits(0, 0),
            body_memory: usize::try_from(self.max_body_memory).unwrap_or(usize::MAX),
            drain: self.drain_timeout,
            reuse: Reuse {
                total: self.max_instance_reuse_count,
                concurrent: self.max_instance_concurrent_reuse_count,
                idle: self.idle_instance_timeout,
                request_timeout: self.request_timeout,
            },
            limits: CoreLimits {
                requests: RequestLimits {
                    body_bytes: self.max_request_body,
                    timeout: self.request_timeout,
                },
                header_timeout: self.header_timeout,
                in_flight: self.max_in_flight.div_ceil(threads),
                computing: self
                    .max_computing
                    .map_or(COMPUTING_PER_THREAD, |all| all.div_ceil(threads)),
            },
            access_log: self.access_log,
        }
    }
}

/// A size that a block of a body fits into: with less no body could be read.
fn body_memory(text: &str) -> Result<u64, String> {
    size(text).and_then(|bytes| {
        if bytes >= BLOCK as u64 {
            Ok(bytes)
        } else {
            Err("must be at least 64KiB".to_owned())
        }
    })
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "must be a whole number above zero".to_owned())
}

fn variable(text: &str) -> Result<Variable, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("must be NAME=VALUE or NAME=@FILE")?;
    let value = match value.strip_prefix('@') {
        // Editors end files with a newline that is no part of the value.
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| format!("{file} cannot be read: {error}"))?
            .trim_end_matches(['\r', '\n'])
            .to_owned(),
        None => value.to_owned(),
    };
    Ok(Variable {
        name: name.to_owned(),
        value,
    })
}

fn at_block(text: &str) -> Result<AtBlock, String> {
    let (chain, number) = match text.split_once('=') {
        Some((chain, number)) => {
            let chain = chain
                .parse()
                .map_err(|error: ChainIdError| error.to_string())?;
            (Some(chain), number)
        }
        None => (None, text),
    };
    let decimal = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number = number.parse().ok().filter(|_| decimal);
    let number =
        number.ok_or("must be a block's number, such as 21000000, or eip155:1=21000000")?;
    Ok(AtBlock { chain, number })
}

pub(crate) fn service(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    url.filter(|url| {
        let plain = url.query().is_none() && url.fragment().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && plain
    })
    .ok_or_else(|| "must be a URL such as http://127.0.0.1:3000".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || "must be a time such as 500ms, 10s or 5m".to_owned();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(wanted)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wanted())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    // A year is as good as forever, and within what a clock can be asked to add.
    milliseconds
        .filter(|milliseconds| (1..=31_536_000_000).contains(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(wanted)
}

fn size(text: &str) -> Result<u64, String> {
    let wanted = || "must be a size such as 65536, 64KiB or 1MiB".to_owned();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wanted())?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wanted()),
    };
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("10"), Ok(10));
        for bad in [
            "",
            "10",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "10 s",
            "99999999999999999999s",
            "1000000h",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "MiB", "0", "1MB", "-1", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_clients_bounds_spare_loopback_unless_they_are_given() {
        let limits = |arguments: &[&str]| {
            let line = ["tokengate", "up"].iter().chain(arguments);
            let Command::Up(up) = Cli::try_parse_from(line).unwrap().command else {
                panic!("another command");
            };
            let config = up.server_config();
            [config.client, config.loopback_client]
                .map(|limits| (limits.connections, limits.waiting))
        };
        assert_eq!(limits(&[]), [(1000, 256), (0, 0)]);
        assert_eq!(
            limits(&["--max-client-connections", "5"]),
            [(5, 256), (5, 0)]
        );
        assert_eq!(limits(&["--max-client-connections", "0"]), [(0, 0), (0, 0)]);
        assert_eq!(limits(&["--max-client-waiting", "7"]), [(1000, 7), (0, 7)]);
    }

    #[test]
    fn memory_for_bodies_holds_a_block_at_least() {
        assert_eq!(body_memory("64KiB"), Ok(65_536));
        assert!(body_memory("65535").is_err());
        assert!(body_memory("0").is_err());
    }

    #[test]
    fn a_block_is_of_one_chain_or_of_a_named_one() {
        let of = |chain: Option<u64>, number| {
            Ok(AtBlock {
                chain: chain.and_then(ChainId::new),
                number,
            })
        };
        assert_eq!(at_block("21000000"), of(None, 21_000_000));
        assert_eq!(at_block("eip155:10=7"), of(Some(10), 7));
        for bad in [
            "",
            "latest",
            "-1",
            "+1",
            "0x10",
            "1=7",
            "eip155:1=",
            "eip155:1=latest",
        ] {
            assert!(at_block(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_service_is_where_its_url_says() {
        for good in ["http://127.0.0.1:3000", "https://gate.example/prefix/"] {
            assert!(service(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:3000",
            "ftp://gate.example",
            "http://",
            "http://gate.example/?x",
            "http://gate.example/#x",
        ] {
            assert!(service(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_demo_option_has_a_default_file_and_excludes_other_places() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        for line in ["tokengate doctor --demo", "tokengate watch --demo --once"] {
            let demo = match parse(line).unwrap().command {
                Command::Doctor(asked) => asked.demo.demo,
                Command::Watch(asked) => asked.service.demo,
                _ => panic!("another command"),
            };
            assert_eq!(demo.as_deref(), Some(Path::new(".spin/demo.json")));
        }
        assert!(parse("tokengate doctor --demo=other.json").is_ok());
        assert!(parse("tokengate doctor --demo --from spin.toml").is_err());
        assert!(parse("tokengate watch --demo --url http://127.0.0.1:1").is_err());
        assert!(parse("tokengate watch --demo --token-file token").is_err());
    }

    #[test]
    fn a_variable_may_come_from_a_file_and_is_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "hidden\n").unwrap();
        let given = variable(&format!("key=@{}", file.path().display())).unwrap();
        assert_eq!(
            (given.name.as_str(), given.value.as_str()),
            ("key", "hidden")
        );
        assert!(!format!("{given:?}").contains("hidden"));
        assert_eq!(variable("a=b=c").unwrap().value, "b=c");
        assert!(variable("a").is_err());
    }
}
