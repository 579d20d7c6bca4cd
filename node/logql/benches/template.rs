//! What rendering a template costs for one line. The allocation counts matter most: a template of text and
//! fields must make none.

use divan::{AllocProfiler, Bencher};
use grapevine_logql::template::{Context, Template};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const LABELS: [(&str, &str); 4] =
    [("duration", "1h30m"), ("level", "warn"), ("message", "connection reset by peer"), ("status", "502")];

struct Line;

impl Context for Line {
    fn label(&self, name: &str) -> Option<&str> {
        LABELS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn labels(&self) -> Vec<(&str, &str)> {
        LABELS.to_vec()
    }

    fn line(&self) -> &[u8] {
        b"level=warn status=502 message=\"connection reset by peer\""
    }

    fn timestamp(&self) -> i64 {
        1_700_000_000_123_456_789
    }

    fn now(&self) -> i64 {
        1_700_000_000_123_456_789
    }
}

#[divan::bench(args = [
    "{{.message}}",
    "{{.level}} {{.status}}: {{.message}}",
    "{{if .level}}[{{.level}}] {{end}}{{__line__}}",
    "{{.level | upper | alignLeft 5}} {{.message | trunc 10}}",
    "{{regexReplaceAll \"[0-9]+\" .status \"N\"}}",
    "{{__timestamp__ | date \"15:04:05.000\"}} {{duration .duration}}",
])]
fn render(bencher: Bencher<'_, '_>, source: &str) {
    let template = Template::parse(source).expect("the templates above are good");
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        template.render(&Line, &mut out)
    });
}

fn main() {
    divan::main();
}
