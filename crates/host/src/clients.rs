//! Fairness over clients: bounds what one client has open, and makes room for others at the cost of the client that has
//! the most.
//!
//! A client is an IPv4 address, or the /64 and the /48 of an IPv6 address: whoever has one address of a /64 has all of
//! them, and sites are given up to a /48 (RFC 6177). A connection *waits* while it is silent, idle or in the middle of a
//! request's head or of the first block of its body: what it waits for is the client's to send, so such a connection is the
//! one to close.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::body::Budget;

/// A /48 may have this many times what a /64 may.
const SITE_FACTOR: usize = 4;
/// One client gets no more than this part of the memory for bodies.
const BODY_SHARE: usize = 4;
/// Between two warnings about clients that are refused.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// What one client may have at once; zero is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientLimits {
    /// Open connections.
    pub(crate) connections: usize,
    /// Open connections that wait.
    pub(crate) waiting: usize,
}

impl ClientLimits {
    fn is_none(self) -> bool {
        self.connections == 0 && self.waiting == 0
    }
}

/// Whose connections count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4(Ipv4Addr),
    /// A /64.
    Subnet([u16; 4]),
    /// A /48.
    Site([u16; 3]),
}

impl Network {
    /// The networks of an address, the widest last.
    fn of(address: IpAddr) -> Vec<Self> {
        match address.to_canonical() {
            IpAddr::V4(address) => vec![Self::V4(address)],
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                vec![Self::Subnet([a, b, c, d]), Self::Site([a, b, c])]
            }
        }
    }

    /// `limit` for this network.
    fn scaled(self, limit: usize) -> usize {
        match self {
            Self::V4(_) | Self::Subnet(_) => limit,
            Self::Site(_) => limit.saturating_mul(SITE_FACTOR),
        }
    }
}

/// The clients of the server and their connections.
pub(crate) struct Clients {
    remote: ClientLimits,
    /// Of peers with a loopback address: a proxy on this machine, as a rule.
    loopback: ClientLimits,
    bodies: Arc<Semaphore>,
    body_share: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clients: HashMap<Network, Client>,
    /// The next number in the order in which connections begin to wait.
    next: u64,
    warned: Option<Instant>,
}

struct Client {
    open: usize,
    /// The longest waiting first.
    waiting: BTreeMap<u64, Waiting>,
    bodies: Arc<Semaphore>,
}

struct Waiting {
    close: Arc<Close>,
    networks: Arc<[Network]>,
}

/// That a connection is to be closed for others.
#[derive(Default)]
struct Close {
    told: AtomicBool,
    /// Remembers it until the connection looks.
    telling: Notify,
}

/// An open connection, counted until it is dropped. It waits from the start.
pub(crate) struct Connection {
    clients: Arc<Clients>,
    /// Empty for one that is not counted.
    networks: Arc<[Network]>,
    limits: ClientLimits,
    close: Arc<Close>,
    /// Its number among those that wait, while it does.
    waiting: Mutex<Option<u64>>,
    budget: Budget,
}

impl Clients {
    /// `body_bytes` is the memory for the request bodies of all connections.
    pub(crate) fn new(remote: ClientLimits, loopback: ClientLimits, body_bytes: usize) -> Self {
        let body_bytes = body_bytes.min(Semaphore::MAX_PERMITS);
        Self {
            remote,
            loopback,
            bodies: Arc::new(Semaphore::new(body_bytes)),
            body_share: Budget::at_least_one_block(body_bytes / BODY_SHARE),
            state: Mutex::default(),
        }
    }

    /// Counts a new connection. One beyond its client's bound takes the place of the one of the same client that has
    /// waited longest, or is refused if none of them waits.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Connection> {
        let limits = if address.to_canonical().is_loopback() {
            self.loopback
        } else {
            self.remote
        };
        let networks = if limits.is_none() {
            Vec::new()
        } else {
            Network::of(address)
        };
        let mut state = self.lock();
        for network in &networks {
            let limit = network.scaled(limits.connections);
            let open = state.clients.get(network).map_or(0, |client| client.open);
            if limits.connections > 0 && open >= limit {
                let made_room = state.close_longest_waiting(network);
                state.warn(address);
                if !made_room {
                    return None;
                }
            }
        }
        let mut share = None;
        for network in &networks {
            let client = state.clients.entry(*network).or_insert_with(|| Client {
                open: 0,
                waiting: BTreeMap::new(),
                bodies: Arc::new(Semaphore::new(self.body_share)),
            });
            client.open += 1;
            share = Some(client.bodies.clone());
        }
        drop(state);
        let connection = Connection {
            clients: self.clone(),
            networks: networks.into(),
            limits,
            close: Arc::default(),
            waiting: Mutex::new(None),
            budget: Budget::new(self.bodies.clone(), share),
        };
        connection.wait();
        Some(connection)
    }

    /// Closes a waiting connection of the client that has the most connections, if one has more than one: the server
    /// is full. Where each client has one, those that came first keep theirs until they time out.
    pub(crate) fn make_room(&self) -> bool {
        let mut state = self.lock();
        let heaviest = state
            .clients
            .iter()
            .filter(|(_, client)| client.open > 1 && !client.waiting.is_empty())
            .max_by_key(|(_, client)| client.open)
            .map(|(network, _)| *network);
        heaviest.is_some_and(|network| state.close_longest_waiting(&network))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and the counts stay sound if something did.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn close_longest_waiting(&mut self, network: &Network) -> bool {
        let longest = self
            .clients
            .get_mut(network)
            .and_then(|client| client.waiting.pop_first());
        let Some((number, Waiting { close, networks })) = longest else {
            return false;
        };
        self.remove_waiting(&networks, number);
        close.told.store(true, Ordering::Relaxed);
        close.telling.notify_one();
        true
    }

    fn remove_waiting(&mut self, networks: &[Network], number: u64) {
        for network in networks {
            if let Some(client) = self.clients.get_mut(network) {
                client.waiting.remove(&number);
            }
        }
    }

    fn warn(&mut self, address: IpAddr) {
        let now = Instant::now();
        if self
            .warned
            .is_none_or(|warned| now.duration_since(warned) >= WARNING_INTERVAL)
        {
            self.warned = Some(now);
            tracing::warn!(
                client = %address,
                "a client has as many connections as --max-client-connections allows: waiting or further ones are closed; if it is a proxy, raise that or set it to 0"
            );
        }
    }
}

impl Connection {
    /// From now on the connection waits for its client. Beyond the client's bound the one that has waited longest is
    /// closed.
    pub(crate) fn wait(&self) {
        if self.networks.is_empty() {
            return;
        }
        let mut state = self.clients.lock();
        // Its request ends with it, and it must not cost another one its place on the way.
        if self.close.told.load(Ordering::Relaxed) {
            return;
        }
        let number = state.next;
        state.next += 1;
        let mut waiting = self.waiting();
        if let Some(earlier) = waiting.replace(number) {
            state.remove_waiting(&self.networks, earlier);
        }
        drop(waiting);
        for network in self.networks.iter() {
            if let Some(client) = state.clients.get_mut(network) {
                let entry = Waiting {
                    close: self.close.clone(),
                    networks: self.networks.clone(),
                };
                client.waiting.insert(number, entry);
            }
        }
        for network in self.networks.iter() {
            let count = state
                .clients
                .get(network)
                .map_or(0, |client| client.waiting.len());
            if self.limits.waiting > 0 && count > network.scaled(self.limits.waiting) {
                state.close_longest_waiting(network);
            }
        }
    }

    /// From now on the connection has a request that can be answered, which is not cut off for others.
    pub(crate) fn work(&self) {
        if self.networks.is_empty() {
            return;
        }
        let mut state = self.clients.lock();
        if let Some(number) = self.waiting().take() {
            state.remove_waiting(&self.networks, number);
        }
    }

    /// Returns when the connection is to be closed for others.
    pub(crate) async fn to_be_closed(&self) {
        self.close.telling.notified().await;
    }

    /// Of memory for bodies.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Locked after the state where both are.
    fn waiting(&self) -> MutexGuard<'_, Option<u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.networks.is_empty() {
            return;
        }
        let mut state = self.clients.lock();
        if let Some(number) = self.waiting().take() {
            state.remove_waiting(&self.networks, number);
        }
        for network in self.networks.iter() {
            if let Some(client) = state.clients.get_mut(network) {
                client.open = client.open.saturating_sub(1);
                if client.open == 0 {
                    state.clients.remove(network);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ClientLimits = ClientLimits {
        connections: 0,
        waiting: 0,
    };

    fn clients(connections: usize, waiting: usize) -> Arc<Clients> {
        let limits = ClientLimits {
            connections,
            waiting,
        };
        Arc::new(Clients::new(limits, NONE, 1 << 20))
    }

    fn enter(clients: &Arc<Clients>, address: &str) -> Option<Connection> {
        clients.enter(address.parse().unwrap())
    }

    /// A connection that is at a request.
    fn working(clients: &Arc<Clients>, address: &str) -> Option<Connection> {
        enter(clients, address).inspect(Connection::work)
    }

    fn is_closed(connection: &Connection) -> bool {
        let mut closing = Box::pin(connection.to_be_closed());
        let closed = futures_util::FutureExt::now_or_never(closing.as_mut()).is_some();
        if closed {
            connection.close.telling.notify_one();
        }
        closed
    }

    #[test]
    fn a_client_with_all_its_connections_at_work_is_refused_and_others_are_not() {
        let clients = clients(3, 0);
        let held: Vec<_> = (0..3).map(|_| working(&clients, "192.0.2.1")).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(enter(&clients, "192.0.2.1").is_none());
        assert!(enter(&clients, "::ffff:192.0.2.1").is_none());
        assert!(enter(&clients, "192.0.2.2").is_some());
        drop(held);
        assert!(enter(&clients, "192.0.2.1").is_some());
    }

    #[test]
    fn a_newcomer_takes_the_place_of_its_clients_longest_waiting_connection() {
        let clients = clients(3, 0);
        let busy = working(&clients, "192.0.2.1").unwrap();
        let first = enter(&clients, "192.0.2.1").unwrap();
        let second = enter(&clients, "192.0.2.1").unwrap();
        let other = enter(&clients, "192.0.2.2").unwrap();
        let newcomer = enter(&clients, "192.0.2.1").unwrap();
        assert!(is_closed(&first));
        for kept in [&busy, &second, &other, &newcomer] {
            assert!(!is_closed(kept));
        }
    }

    #[test]
    fn a_client_has_only_so_many_connections_that_wait() {
        let clients = clients(0, 2);
        let all: Vec<_> = (0..5)
            .map(|_| enter(&clients, "192.0.2.1").unwrap())
            .collect();
        let closed: Vec<_> = all.iter().map(is_closed).collect();
        assert_eq!(closed, [true, true, true, false, false]);

        // One that comes back from a request has waited for the shortest time.
        all[3].work();
        all[3].wait();
        let _sixth = enter(&clients, "192.0.2.1").unwrap();
        assert!(is_closed(&all[4]) && !is_closed(&all[3]));
    }

    #[test]
    fn a_connection_that_is_being_closed_costs_no_other_its_place() {
        let clients = clients(0, 1);
        let first = enter(&clients, "192.0.2.1").unwrap();
        let second = enter(&clients, "192.0.2.1").unwrap();
        assert!(is_closed(&first));
        // What its request does when it is dropped.
        first.wait();
        assert!(!is_closed(&second));
    }

    #[test]
    fn addresses_of_one_subnet_are_one_client_and_a_site_has_four_times_as_many() {
        let clients = clients(2, 0);
        let mut held = Vec::new();
        for address in ["2001:db8:1:1::1", "2001:db8:1:1:ffff::9"] {
            held.push(working(&clients, address).unwrap());
        }
        assert!(enter(&clients, "2001:db8:1:1::2").is_none());
        for subnet in 2..=4 {
            for host in 1..=2 {
                held.push(working(&clients, &format!("2001:db8:1:{subnet}::{host}")).unwrap());
            }
        }
        assert_eq!(held.len(), 8);
        assert!(
            enter(&clients, "2001:db8:1:5::1").is_none(),
            "the /48 is full"
        );
        assert!(enter(&clients, "2001:db8:2:5::1").is_some());
    }

    #[test]
    fn when_the_server_is_full_the_client_with_the_most_makes_room() {
        let clients = clients(0, 1000);
        let few: Vec<_> = (0..2)
            .map(|_| enter(&clients, "192.0.2.1").unwrap())
            .collect();
        let many: Vec<_> = (0..5)
            .map(|_| enter(&clients, "192.0.2.2").unwrap())
            .collect();
        let busiest: Vec<_> = (0..9)
            .map(|_| working(&clients, "192.0.2.3").unwrap())
            .collect();
        let single = enter(&clients, "192.0.2.4").unwrap();
        assert!(clients.make_room());
        assert!(is_closed(&many[0]));
        assert!(!few.iter().chain(&busiest).chain(&many[1..]).any(is_closed));
        drop((few, many, busiest));
        assert!(!clients.make_room(), "whoever has one keeps it");
        assert!(!is_closed(&single));
    }

    #[test]
    fn a_site_that_spreads_over_its_subnets_is_the_one_with_the_most() {
        let clients = clients(0, 1000);
        let spread: Vec<_> = (0..4)
            .map(|subnet| enter(&clients, &format!("2001:db8:1:{subnet}::1")).unwrap())
            .collect();
        let pair: Vec<_> = (0..3)
            .map(|_| enter(&clients, "192.0.2.2").unwrap())
            .collect();
        assert!(clients.make_room());
        assert!(is_closed(&spread[0]));
        assert!(!pair.iter().any(is_closed));
    }

    #[test]
    fn loopback_peers_are_not_counted_unless_they_have_limits() {
        let clients = clients(1, 1);
        let all: Vec<_> = (0..100)
            .map(|_| enter(&clients, "127.0.0.1").unwrap())
            .collect();
        assert!(!all.iter().any(is_closed));
        assert!(!clients.make_room());
        assert!(clients.lock().clients.is_empty());

        let limits = ClientLimits {
            connections: 1,
            waiting: 0,
        };
        let clients = Arc::new(Clients::new(NONE, limits, 1 << 20));
        let _one = working(&clients, "::ffff:127.0.0.1").unwrap();
        assert!(enter(&clients, "127.0.0.1").is_none());
        assert!(working(&clients, "192.0.2.1").is_some());
    }

    #[test]
    fn nothing_is_left_of_connections_that_ended() {
        let clients = clients(10, 2);
        let all: Vec<_> = (0..8)
            .filter_map(|index| enter(&clients, &format!("2001:db8:1:{index}::1")))
            .collect();
        all[0].work();
        all[1].work();
        all[1].wait();
        drop(all);
        assert!(clients.lock().clients.is_empty());
    }
}
