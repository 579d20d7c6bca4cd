//! Turns a scenario's file into what is meant: names into numbers, parts into thousandths, defaults filled in.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use grapevine::config::units::Period;

use super::format::{self, File, Kind, Link, Nodes, flattened};
use super::{NodePlan, Options, Scenario};
use crate::net::{LATENCY_MIN, Weather};
use crate::schedule::Fault;

/// Nodes of a scenario at most: address and thread-less as they are, each costs its window.
const NODES_MAX: usize = 100;
/// What the clients' machine is called, as a node and as a zone.
const CLIENTS: &str = "clients";
/// What the node is called that joins where a scenario has none for it.
const SPARE: &str = "spare";

pub(super) fn scenario(name: &str, mut file: File, options: &Options) -> Result<Scenario> {
    let mut nodes = nodes(&file, options.nodes)?;
    if let Some(kinds) = &options.kinds {
        make_room(&mut nodes, kinds, file.cluster.replication_factor)?;
    }
    let names = Names(&nodes);
    let fixed = file.fault.iter().map(|fault| names.fault(fault)).collect::<Result<Vec<_>>>()?;
    if let Some(kinds) = &options.kinds {
        file.faults.kinds.clone_from(kinds);
        if file.faults.per_minute == 0.0 {
            file.faults.per_minute = 12.0;
        }
    }
    let format::Cluster { replication_factor, write_acks } = file.cluster;
    ensure!(write_acks >= 1, "`cluster.write_acks` = `0`: a push that nobody has cannot be answered");
    ensure!(
        write_acks <= replication_factor,
        "`cluster.write_acks` = `{write_acks}` is more than the `{replication_factor}` owners there are"
    );
    let workload = &file.workload;
    ensure!(workload.batch >= 1, "`workload.batch` = `0`: a push has one line at least");
    ensure!(
        workload.streams == 0 || workload.lines_per_second > 0.0,
        "`workload.lines_per_second` must be more than 0; for no pushes write `streams = 0`"
    );
    let mut scenario = Scenario {
        name: name.to_owned(),
        about: file.about.trim().to_owned(),
        length: options.length.unwrap_or(file.length.0),
        links: links(&nodes, &file.link)?,
        replication_factor,
        write_acks,
        store: file.store,
        workload: file.workload,
        expect: file.expect,
        events: Vec::new(),
        nodes,
    };
    scenario.schedule(fixed, &file.faults, options);
    Ok(scenario)
}

/// The nodes named, or as many as asked for: of more than there are, zones and weights come again in turn.
fn nodes(file: &File, count: Option<usize>) -> Result<Vec<NodePlan>> {
    let mut nodes = Vec::new();
    for node in &file.node {
        let mut config = flattened(&file.config);
        config.extend(flattened(&node.config));
        let plan = |name| NodePlan {
            name,
            zone: node.zone.clone(),
            weight: node.weight,
            spare: node.spare,
            config: config.clone(),
        };
        match node.count {
            None => nodes.push(plan(node.name.clone())),
            Some(count) => nodes.extend((1..=count).map(|n| plan(format!("{}{n}", node.name)))),
        }
    }
    ensure!(!nodes.is_empty(), "there is no `[[node]]`");
    if let Some(count) = count {
        ensure!((1..=NODES_MAX).contains(&count), "`{count}` nodes: 1 to {NODES_MAX} can be run");
        let given = nodes.len();
        for more in given..count {
            let name = format!("more{}", more + 1 - given);
            nodes.push(NodePlan { name, ..nodes[more % given].clone() });
        }
        nodes.truncate(count);
    }
    ensure!(nodes.len() <= NODES_MAX, "`{}` nodes: {NODES_MAX} at most can be run", nodes.len());
    for (place, node) in nodes.iter().enumerate() {
        let twice = nodes[..place].iter().any(|other| other.name == node.name);
        ensure!(!twice && node.name != CLIENTS, "two nodes are called `{}`", node.name);
    }
    ensure!(nodes.iter().any(|node| !node.spare), "every node is `spare`: nobody is there to begin with");
    Ok(nodes)
}

/// Faults that are asked for by name can happen: where nobody could join, there is a spare node more, like the last.
fn make_room(nodes: &mut Vec<NodePlan>, kinds: &[Kind], replication_factor: usize) -> Result<()> {
    let present = nodes.iter().filter(|node| !node.spare).count();
    let (joins, leaves) = (kinds.contains(&Kind::Join), kinds.contains(&Kind::Leave));
    ensure!(
        nodes.len() > 1 || !(joins || leaves),
        "a node alone has no cluster to join or leave; give it others"
    );
    ensure!(
        joins || !leaves || present > replication_factor,
        "none of `{present}` nodes may leave, which hold all `{replication_factor}` times: let others `join`, or have more"
    );
    if joins && present == nodes.len() {
        let like = nodes.last().context("there is a node")?.clone();
        ensure!(
            nodes.iter().all(|node| node.name != SPARE),
            "`{SPARE}` is no spare node, and nobody else is one"
        );
        nodes.push(NodePlan { name: SPARE.to_owned(), spare: true, ..like });
    }
    Ok(())
}

fn links(nodes: &[NodePlan], links: &[Link]) -> Result<Vec<Vec<Weather>>> {
    let zones: Vec<&str> = nodes.iter().map(|node| node.zone.as_str()).chain([CLIENTS]).collect();
    let mut table = vec![vec![Weather::good(); zones.len()]; zones.len()];
    for link in links {
        let [one, other] = &link.between;
        for zone in &link.between {
            ensure!(zones.contains(&zone.as_str()), "`link.between`: no node is in zone `{zone}`");
        }
        ensure!(
            link.latency.0 >= LATENCY_MIN,
            "`link.latency` = `{}`: {} ms is the least that is simulated",
            link.latency,
            LATENCY_MIN.as_millis()
        );
        let weather = Weather {
            latency: link.latency.0,
            jitter: link.jitter.map_or(link.latency.0 / 10, |jitter| jitter.0),
            loss_permille: permille("link.loss", link.loss)?,
            duplicate_permille: permille("link.duplicates", link.duplicates)?,
        };
        for (from, row) in table.iter_mut().enumerate() {
            for (to, place) in row.iter_mut().enumerate() {
                let ends = (zones[from], zones[to]);
                if ends == (one.as_str(), other.as_str()) || ends == (other.as_str(), one.as_str()) {
                    *place = weather;
                }
            }
        }
    }
    Ok(table)
}

fn permille(key: &str, part: f64) -> Result<u64> {
    ensure!((0.0..=1.0).contains(&part), "`{key}` = `{part}` is no part of a whole: write 0.0 to 1.0");
    Ok((part * 1000.0).round() as u64)
}

fn signed(text: &str) -> Result<i64> {
    let (negative, length) = text.strip_prefix('-').map_or((false, text), |length| (true, length));
    let nanos = length.parse::<Period>()?.nanos();
    Ok(if negative { -nanos } else { nanos })
}

struct Names<'a>(&'a [NodePlan]);

impl Names<'_> {
    fn numbers(&self, nodes: &Nodes) -> Result<Vec<usize>> {
        let mut numbers = Vec::new();
        for name in nodes {
            let before = numbers.len();
            match (name.as_str(), name.strip_prefix("zone:")) {
                (CLIENTS, _) => numbers.push(self.0.len()),
                ("all", _) => numbers.extend(0..self.0.len()),
                (_, Some(zone)) => {
                    numbers.extend((0..self.0.len()).filter(|node| self.0[*node].zone == zone));
                }
                (name, None) => numbers.extend((0..self.0.len()).filter(|node| self.0[*node].name == name)),
            }
            if numbers.len() == before {
                let known: Vec<&str> = self.0.iter().map(|node| node.name.as_str()).collect();
                bail!("no node is called `{name}`; there are {}", known.join(", "));
            }
        }
        ensure!(!numbers.is_empty(), "a fault names no node");
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    /// Nodes proper: a fault that the clients' machine cannot have.
    fn nodes(&self, nodes: &Nodes) -> Result<Vec<usize>> {
        let numbers = self.numbers(nodes)?;
        ensure!(
            !numbers.contains(&self.0.len()),
            "the clients can only be part of `partition` and `weather`"
        );
        Ok(numbers)
    }

    fn fault(&self, fault: &format::Fault) -> Result<(Duration, Fault)> {
        use format::Fault as Written;
        Ok(match fault {
            Written::Crash { at, nodes, down } => {
                (at.0, Fault::Crash { nodes: self.nodes(nodes)?, down: down.0 })
            }
            Written::Power { at, nodes, down, keep } => {
                let (nodes, keep_permille) = (self.nodes(nodes)?, permille("fault.keep", *keep)?);
                (at.0, Fault::PowerLoss { nodes, down: down.0, keep_permille })
            }
            Written::Pause { at, nodes, length } => {
                (at.0, Fault::Pause { nodes: self.nodes(nodes)?, length: length.0 })
            }
            Written::Clock { at, nodes, by } => {
                let nanos = signed(by).with_context(|| format!("`fault.by` = `{by}`"))?;
                (at.0, Fault::ClockJump { nodes: self.nodes(nodes)?, nanos })
            }
            Written::DiskFull { at, nodes, room, length } => {
                (at.0, Fault::DiskFull { nodes: self.nodes(nodes)?, room: room.0, length: length.0 })
            }
            Written::DiskError { at, nodes, syncs, writes } => {
                (at.0, Fault::DiskErrors { nodes: self.nodes(nodes)?, syncs: *syncs, writes: *writes })
            }
            Written::StoreOut { at, nodes, length } => {
                let nodes = if nodes.is_empty() { (0..self.0.len()).collect() } else { self.nodes(nodes)? };
                (at.0, Fault::StoreOut { nodes, length: length.0 })
            }
            Written::StoreSlow { at, latency, failures, length } => {
                let half = permille("fault.failures", failures / 2.0)?;
                let (before_permille, after_permille) = (half, half);
                let (latency, length) = (latency.0, length.0);
                (at.0, Fault::StoreSlow { latency, before_permille, after_permille, length })
            }
            Written::Weather { at, nodes, loss, duplicates, jitter, length } => {
                let (nodes, jitter, length) = (self.numbers(nodes)?, jitter.0, length.0);
                let loss_permille = permille("fault.loss", *loss)?;
                let duplicate_permille = permille("fault.duplicates", *duplicates)?;
                (at.0, Fault::BadWeather { nodes, loss_permille, duplicate_permille, jitter, length })
            }
            Written::Partition { at, from, to, one_way, length } => {
                let (from, to) = (self.numbers(from)?, self.numbers(to)?);
                (at.0, Fault::Partition { from, to, one_way: *one_way, length: length.0 })
            }
            Written::Join { at, nodes } => (at.0, Fault::Join { nodes: self.nodes(nodes)? }),
            Written::Leave { at, nodes } => (at.0, Fault::Leave { nodes: self.nodes(nodes)? }),
            Written::Upgrade { at, nodes, apart } => {
                (at.0, Fault::Upgrade { nodes: self.nodes(nodes)?, apart: apart.0 })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::format::{File, Kind};
    use super::super::{Options, SCENARIOS, Scenario};
    use crate::schedule::Fault;

    fn read(text: &str, options: &Options) -> anyhow::Result<Scenario> {
        super::scenario("test", toml::from_str::<File>(text)?, options)
    }

    #[test]
    fn every_scenario_that_comes_along_can_be_read() {
        for shipped in SCENARIOS {
            let scenario = Scenario::load(shipped.name, &Options::default()).unwrap();
            assert!(!scenario.about.is_empty() && !scenario.nodes.is_empty(), "{}", shipped.name);
        }
    }

    #[test]
    fn names_become_numbers_and_links_join_zones() {
        let text = "
            about = 'x'
            node = [{ name = 'a', zone = 'east' }, { name = 'b', zone = 'west', count = 2 }]
            link = [{ between = ['west', 'east'], latency = '30ms' }]
            [[fault]]
            kind = 'power'
            at = '5s'
            nodes = ['zone:west']
            down = '1s'
            keep = 0.5
            [[fault]]
            kind = 'clock'
            at = '1s'
            nodes = ['a']
            by = '-5m'
        ";
        let scenario = read(text, &Options::default()).unwrap();
        let names: Vec<&str> = scenario.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["a", "b1", "b2"]);
        let latency = |from: usize, to: usize| scenario.links[from][to].latency.as_millis();
        assert_eq!((latency(0, 2), latency(1, 0), latency(1, 2), latency(3, 0)), (30, 30, 2, 2));
        let power = Fault::PowerLoss { nodes: vec![1, 2], down: Duration::from_secs(1), keep_permille: 500 };
        assert_eq!(scenario.events[1].fault, power);
        assert_eq!(scenario.events[0].fault, Fault::ClockJump { nodes: vec![0], nanos: -300_000_000_000 });
    }

    #[test]
    fn options_beat_the_file() {
        let text = "about = 'x'\nlength = '2m'\n[[node]]\nname = 'a'\nzone = 'z'\n[faults]\nkinds = ['crash']\nper_minute = 5";
        let plain = read(text, &Options::default()).unwrap();
        assert_eq!((plain.length.as_secs(), plain.events.len(), plain.nodes.len()), (120, 10, 1));
        let options = Options {
            nodes: Some(3),
            length: Some(Duration::from_secs(60)),
            kinds: Some(vec![Kind::Pause]),
            skip: vec![1],
            ..Options::default()
        };
        let other = read(text, &options).unwrap();
        assert_eq!((other.length.as_secs(), other.events.len(), other.nodes.len()), (60, 4, 3));
        assert!(other.nodes.iter().all(|node| node.zone == "z"));
        assert!(
            other.events.iter().all(|event| matches!(event.fault, Fault::Pause { .. }) && event.number != 1)
        );
    }

    #[test]
    fn faults_asked_for_by_name_can_happen() {
        let of = |nodes: usize, kinds: &[Kind]| {
            let text = format!("about = 'x'\nlength = '5m'\n[[node]]\nname = 'n'\ncount = {nodes}");
            read(&text, &Options { kinds: Some(kinds.to_vec()), ..Options::default() })
        };
        let scenario = of(3, &[Kind::Join, Kind::Leave]).unwrap();
        assert!(scenario.nodes[3].spare && scenario.nodes.len() == 4);
        let kinds: [fn(&Fault) -> bool; 2] =
            [|fault| matches!(fault, Fault::Join { .. }), |fault| matches!(fault, Fault::Leave { .. })];
        assert!(kinds.iter().all(|is_it| scenario.events.iter().any(|event| is_it(&event.fault))));
        assert_eq!(of(3, &[Kind::Crash]).unwrap().nodes.len(), 3);
        let error = |nodes, kind| format!("{:#}", of(nodes, &[kind]).unwrap_err());
        assert!(error(1, Kind::Join).contains("a node alone has no cluster"));
        assert!(error(3, Kind::Leave).contains("none of `3` nodes may leave"));
    }

    fn check_error(text: &str, part: &str) {
        let error = format!("{:#}", read(text, &Options::default()).unwrap_err());
        assert!(error.contains(part), "{text}: {error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let node = "about = 'x'\nnode = [{ name = 'a' }]\n";
        check_error("about = 'x'\nnodes = 3", "unknown field `nodes`");
        check_error("about = 'x'\nnode = []", "there is no `[[node]]`");
        check_error("about = 'x'\nnode = [{ name = 'a' }, { name = 'a' }]", "two nodes are called `a`");
        check_error("about = 'x'\nnode = [{ name = 'a', spare = true }]", "nobody is there");
        check_error(&format!("{node}length = 'soon'"), "`soon` is not a duration");
        check_error(&format!("{node}link = [{{ between = ['', 'b'], latency = '5ms' }}]"), "in zone `b`");
        check_error(
            &format!("{node}link = [{{ between = ['', ''], latency = '1ms' }}]"),
            "2 ms is the least",
        );
        check_error(
            &format!("{node}link = [{{ between = ['', ''], latency = '2ms', loss = 2.0 }}]"),
            "0.0 to 1.0",
        );
        check_error(&format!("{node}[cluster]\nwrite_acks = 4"), "is more than the `3` owners");
        check_error(&format!("{node}[faults]\nkinds = ['flood']"), "unknown variant `flood`");
        let fault = |fault: &str| format!("{node}[[fault]]\nat = '1s'\n{fault}");
        check_error(
            &fault("kind = 'crash'\nnodes = ['b']\ndown = '1s'"),
            "no node is called `b`; there are a",
        );
        check_error(
            &fault("kind = 'crash'\nnodes = ['clients']\ndown = '1s'"),
            "only be part of `partition`",
        );
        check_error(&fault("kind = 'crash'\nnodes = ['a']"), "missing field `down`");
        check_error(&fault("kind = 'crash'\nnodes = ['a']\ndown = '1s'\nup = 5"), "unknown field `up`");
        check_error(&fault("kind = 'clock'\nnodes = ['a']\nby = 'x'"), "`fault.by` = `x`");
    }
}
