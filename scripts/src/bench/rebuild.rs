//! How long a node that has lost its disk takes until all that is in the chunk store can be found again.
//!
//! Packs are written into a directory as nodes name them: many streams, one chunk each, some kilobytes of text, as after
//! a flush of many quiet streams. Chunks are what counts: fuller ones cost no more.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use grapevine_storage::entry::EntryRef;
use grapevine_storage::index::Day;
use grapevine_storage::pack::{Append, BlockText, ChunkBuilder, Level, PackWriter, Sealer};
use grapevine_storage::stream::{Labels, StreamId};
use grapevine_storage::testdata::LogLines;

use super::server::Server;
use super::{Options, stored_bytes, wall_now_ns};

/// Streams, each of which has one chunk in every pack.
const STREAMS: usize = 10_000;
/// Lines of a chunk.
const LINES: usize = 16;
/// Days that the packs are spread over.
const DAYS: i32 = 10;
/// Where a node keeps what has no tenant.
const TENANT: &str = "fake";
/// How often it is looked whether everything is there.
const LOOK: std::time::Duration = std::time::Duration::from_millis(200);

/// Writes so many chunks, starts a node on an empty disk, and waits until it knows all of them.
pub(super) async fn measure(options: &Options, chunks: usize) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder for the data")?;
    let store = folder.path().join("packs");
    let packs = chunks.div_ceil(STREAMS).max(1);
    let mut writer = Writer::new();
    for pack in 0..packs {
        writer.pack(&store, pack)?;
    }
    let chunks = packs * STREAMS;
    let data_dir = folder.path().join("grapevine");
    let mut extra = vec![format!("--chunk-store=file://{}", store.display())];
    extra.extend_from_slice(&options.extra);
    let began = tokio::time::Instant::now();
    let mut server = Server::start(&options.binary(), data_dir.clone(), &extra).await?;
    let ready = began.elapsed().as_secs_f64();
    while !is_done(&server).await? {
        tokio::time::sleep(LOOK).await;
    }
    let (whole, cpu) = (began.elapsed().as_secs_f64(), server.cpu_s().unwrap_or_default());
    let day_ns = 86_400_000_000_000;
    let range = [("start", wall_now_ns() - i64::from(DAYS + 2) * day_ns), ("end", wall_now_ns())];
    let mut parameters = vec![("query", r#"{site="bench"}"#.to_owned())];
    parameters.extend(range.map(|(name, time)| (name, time.to_string())));
    let stats = server.target.get("/loki/api/v1/index/stats", &parameters).await?;
    let (found, written) = (stats["entries"].as_u64(), (chunks * LINES) as u64);
    ensure!(found == Some(written), "of {written} lines the node knows {stats}");
    let millions = chunks as f64 / 1e6;
    println!("\n## rebuild: {chunks} chunks in {packs} packs of {STREAMS} streams, {DAYS} days\n");
    println!("| | value | per million chunks |\n| --- | --- | --- |");
    println!("| packs, MB | {:.0} | |", stored_bytes(&store)? as f64 / 1e6);
    println!("| the doors open, wall s | {ready:.1} | {:.1} |", ready / millions);
    println!("| all is found, wall s | {whole:.1} | {:.1} |", whole / millions);
    println!("| CPU s | {cpu:.1} | {:.1} |", cpu / millions);
    println!("| peak RSS, MiB | {:.0} | |", server.peak_rss_mib().unwrap_or_default());
    println!("| index, MB | {:.0} | |", stored_bytes(&data_dir.join("index"))? as f64 / 1e6);
    server.stop()
}

/// Whether the chunk store has been looked through once.
async fn is_done(server: &Server) -> Result<bool> {
    let workers = server.target.get("/workers", &[]).await?;
    let workers = workers.as_array().context("a list of workers")?;
    Ok(workers.iter().any(|worker| worker["name"] == "reconcile" && worker["rounds"].as_u64() > Some(0)))
}

/// Writes packs.
struct Writer {
    streams: Vec<(StreamId, Labels)>,
    sealer: Sealer,
    lines: LogLines,
    today: Day,
}

impl Writer {
    fn new() -> Self {
        let labels = |n| Labels::new([("site", "bench"), ("service_name", &format!("service-{n}"))]);
        let mut streams: Vec<_> =
            (0..STREAMS).map(labels).map(|labels| (StreamId::of(TENANT, &labels), labels)).collect();
        streams.sort_by_key(|(id, _)| *id);
        let (sealer, lines) = (Sealer::new(Level::default()), LogLines::new(0, 1));
        Writer { streams, sealer, lines, today: Day::of(wall_now_ns()) }
    }

    /// One pack, under the name that its content gives it.
    fn pack(&mut self, store: &Path, number: usize) -> Result<()> {
        let day = Day(self.today.0 - number as i32 % DAYS - 1);
        let start = day.timestamps().start() + number as i64 * 1_000_000_000;
        let folder = store.join(format!("{TENANT}/{day}/0000-ffff"));
        fs::create_dir_all(&folder)?;
        let temporary = folder.join("new");
        let mut pack = PackWriter::new(std::io::BufWriter::new(fs::File::create(&temporary)?));
        for (id, labels) in &self.streams {
            let mut text = BlockText::new();
            for line in 0..LINES {
                let (_, written) = self.lines.next_entry();
                let timestamp = start + line as i64 * 1_000_000;
                let entry = EntryRef { timestamp, line: written.as_bytes(), metadata: &[] };
                ensure!(text.append(&entry) == Append::Taken, "a block that has no room for {LINES} lines");
            }
            let mut chunk = ChunkBuilder::new();
            self.sealer.seal(*id, &text, &mut chunk);
            pack.chunk(*id, labels, &chunk.finish().context("a chunk of some lines")?)?;
        }
        let (summary, output) = pack.finish()?;
        output.into_inner().context("write a pack")?;
        Ok(fs::rename(temporary, folder.join(format!("{:032x}.gz", summary.content_hash)))?)
    }
}
