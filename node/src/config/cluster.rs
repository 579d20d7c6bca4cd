//! The keys of a cluster: where a node meets its peers, and what it wishes to be among them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use grapevine_gossip::identity::JoinToken;
use grapevine_gossip::limits::REPLICAS_MAX;
use grapevine_gossip::ring::{NodeId, Weight, Zone};
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::keys::table;
use super::server::Secret;
use super::units::{ByteSize, Period};

table! {
    /// The cluster. A node belongs to one if it has a join token, or a key from `grapevine cluster init` in its data
    /// directory; a node that has neither stands alone and opens no port for peers.
    "cluster": ClusterWritten => Cluster {
        /// Address and port (UDP) of everything between nodes: gossip, writes, reads; all of it encrypted, and
        /// closed to whoever lacks the cluster's key.
        peer_listen: String = "0.0.0.0:3101".to_owned(),
        /// The join token, `TOKEN@host:port`, with the addresses of one member or more (`TOKEN@host:port,host:port`).
        /// Needed once: a node keeps what it needs to come back. Who knows it belongs to the cluster, so better
        /// put it into `GRAPEVINE_CLUSTER_JOIN` or a systemd credential than into a flag.
        join: Secret = Secret::default(),
        /// The address under which others reach this node. Empty is the address on the way to the first member
        /// that it joins, or that of `peer_listen` if it names one.
        advertise: String = String::new(),
        /// The node's name in the cluster, for its whole life. Empty is the machine's name and some random
        /// characters; it is chosen once and kept in the data directory.
        name: String = String::new(),
        /// The failure domain: a rack, a room, a ship's deck. Replicas go to distinct zones first.
        zone: String = String::new(),
        /// How much this node should hold in relation to others: 100 is usual, 200 twice as much.
        weight: u16 = 100,
        /// On how many nodes each line is kept until it is in the chunk store, and who answer for it. More survive
        /// more losses and cost as much more traffic and memory. The same on all nodes.
        replication_factor: usize = 3,
        /// How many nodes must have a push durably before it is answered. Fewer answer sooner, and lose lines if
        /// all of them are lost before the others have them; where fewer live, these few are enough.
        write_acks: usize = 2,
        /// How long a node that is not heard of stays a member. Longer leaves a machine more time to restart
        /// before others take over what it owns; shorter restores the number of replicas sooner.
        forget_after: Period = Period::seconds(15 * 60),
        /// Bytes that this node may send in a second to owners that lack pushes, and as many that it may read or fetch of
        /// packs which became its own because somebody joined, left or was lost; 0 is no bound. Less leaves more of the
        /// network to pushes and queries; until all is moved, fewer nodes than `replication_factor` hold some lines.
        transfer_rate_max: ByteSize = ByteSize::mib(64),
        /// What SIGTERM means: `stay`, for a node that will be back, or `leave`, to hand over and be a member no
        /// more, as `grapevine leave` does.
        on_stop: OnStop = OnStop::Stay,
        /// How long handing over may take. A node that is not done by then stops all the same, as one that stays: its
        /// log keeps what is left.
        leave_timeout: Period = Period::seconds(10 * 60),
    }
}

/// What a node does as it is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// It stays a member, and is expected back.
    Stay,
    /// It hands over and leaves.
    Leave,
}

/// The shortest time after which a silent node may be forgotten: well above what it takes to notice its silence.
const FORGET_AFTER_MIN: Period = Period::seconds(30);

/// What the keys mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant {
    /// Where peers are listened for.
    pub listen: SocketAddr,
    /// The join token, if there is one.
    pub join: Option<JoinToken>,
    /// Under which address others reach the node, where the operator says so.
    pub advertise: Option<IpAddr>,
    /// The node's name, where the operator gives one.
    pub name: Option<NodeId>,
    /// Its failure domain.
    pub zone: Zone,
    /// What it wishes to hold.
    pub weight: Weight,
    /// Owners of each range; at least 1, at most [`REPLICAS_MAX`].
    pub replication_factor: usize,
    /// Owners that must have a push; at least 1, at most `replication_factor`.
    pub write_acks: usize,
    /// How long a silent node stays a member.
    pub forget_after: Duration,
}

impl Cluster {
    /// Checks the keys and says what they mean.
    ///
    /// # Errors
    /// The first that makes no sense; secrets are not repeated.
    pub fn meant(&self) -> Result<Meant, ConfigError> {
        let value = |key: &str, error: &dyn std::fmt::Display| {
            ConfigError::Value(format!("`cluster.{key}`: {error}"))
        };
        let given = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
        let not_a_socket =
            || format!("`{}` is not an address and port such as `0.0.0.0:3101`", self.peer_listen);
        let not_an_address =
            || format!("`{}` is not an address such as `10.0.0.1`: leave out name and port", self.advertise);
        let between = |key, number: usize, most: usize| match number {
            1.. if number <= most => Ok(number),
            _ => Err(value(key, &format!("`{number}` must be from 1 to {most}"))),
        };
        let replication_factor = between("replication_factor", self.replication_factor, REPLICAS_MAX)?;
        if self.forget_after < FORGET_AFTER_MIN {
            let text = format!("`{}` is too short: `{FORGET_AFTER_MIN}` at least", self.forget_after);
            return Err(value("forget_after", &text));
        }
        Ok(Meant {
            listen: self.peer_listen.parse().map_err(|_| value("peer_listen", &not_a_socket()))?,
            join: given(self.join.reveal())
                .map(|text| text.parse())
                .transpose()
                .map_err(|e| value("join", &e))?,
            advertise: given(&self.advertise)
                .map(|text| text.parse())
                .transpose()
                .map_err(|_| value("advertise", &not_an_address()))?,
            name: given(&self.name).map(|text| text.parse()).transpose().map_err(|e| value("name", &e))?,
            zone: self.zone.parse().map_err(|e| value("zone", &e))?,
            weight: Weight::new(self.weight).map_err(|e| value("weight", &e))?,
            replication_factor,
            write_acks: between("write_acks", self.write_acks, replication_factor)?,
            forget_after: self.forget_after.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use grapevine_gossip::identity::ClusterKey;

    use crate::config::Config;

    fn load(key: &str, value: &str) -> Result<Config, String> {
        let flags = [(format!("cluster.{key}"), value.to_owned())];
        Config::load("", [], flags).map_err(|error| error.to_string())
    }

    fn check(key: &str, value: &str, part: &str) {
        let error = load(key, value).unwrap_err();
        assert!(error.contains(&format!("`cluster.{key}`")) && error.contains(part), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_named_with_a_way_out() {
        check("peer_listen", "localhost", "such as `0.0.0.0:3101`");
        check("advertise", "10.0.0.1:3101", "leave out name and port");
        check("name", "a b", "cannot be a node name");
        check("zone", "ü", "cannot be a zone");
        check("weight", "0", "`0` cannot be a weight");
        check("replication_factor", "0", "from 1 to 8");
        check("replication_factor", "9", "from 1 to 8");
        check("write_acks", "4", "from 1 to 3");
        check("forget_after", "1s", "`30s` at least");
    }

    #[test]
    fn a_token_that_is_none_is_refused_and_not_repeated() {
        let error = load("join", "hush@a:1").unwrap_err();
        assert!(
            error.contains("`cluster.join`: this is no join token") && !error.contains("hush"),
            "{error}"
        );
    }

    #[test]
    fn a_token_is_read_and_hidden_in_what_is_in_effect() {
        let token = format!("{}@a:1,b:2", ClusterKey::from_bytes([7; 32]).expose());
        let config = load("join", &token).unwrap();
        assert_eq!(config.cluster.meant().unwrap().join.unwrap().seeds, ["a:1", "b:2"]);
        assert!(!config.to_toml().contains("gv1-"), "{}", config.to_toml());
    }
}
