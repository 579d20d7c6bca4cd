//! Loki's API as a test speaks it: typed where the answer is what counts, raw where the refusal is.

use super::answers::Lines;
use super::http::{Answer, Request};
use super::net::Namespace;
use super::push::{Form, Push, request};

/// What a log query asks for; all of the time, oldest first, unless told otherwise.
#[derive(Clone, Debug)]
pub struct Query {
    pub query: String,
    pub start: i64,
    pub end: i64,
    pub limit: usize,
    pub direction: &'static str,
}

/// Lines that one query may ask for: more than any test pushes.
pub const LIMIT: usize = 1_000_000;

/// A client of one node and one tenant.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
    tenant: String,
    /// Where it is, if not where the tests are.
    place: Option<Namespace>,
}

/// A path with parameters.
pub fn target(path: &str, parameters: &[(&str, &str)]) -> String {
    let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{path}?{text}")
}

/// Forward over everything between two times.
pub fn forward(query: &str, start: i64, end: i64) -> Query {
    Query { query: query.to_owned(), start, end, limit: LIMIT, direction: "forward" }
}

impl Client {
    pub fn new(address: &str) -> Self {
        Client { address: address.to_owned(), tenant: String::new(), place: None }
    }

    /// The same in another place.
    pub fn within(self, place: Namespace) -> Self {
        Client { place: Some(place), ..self }
    }

    /// The same as another tenant.
    pub fn tenant(&self, name: &str) -> Client {
        Client { tenant: name.to_owned(), ..self.clone() }
    }

    /// `http://HOST:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The present, for what must be young: ns since 1970.
    pub fn now_ns(&self) -> i64 {
        jiff::Timestamp::now().as_nanosecond().try_into().unwrap()
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The node is not there, or went away.
    pub fn send(&self, request: Request) -> std::io::Result<Answer> {
        let _there = self.place.as_ref().map(Namespace::enter);
        request.header("X-Scope-OrgID", &self.tenant).send(&self.address)
    }

    /// An answer, whatever it is.
    pub fn get(&self, target: &str) -> Answer {
        self.send(Request::get(target)).unwrap()
    }

    /// `GET` with parameters.
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Answer {
        self.send(Request::get(target(path, parameters))).unwrap()
    }

    /// Pushes, and expects to be acknowledged.
    pub fn push(&self, form: Form, streams: &[Push]) {
        let answer = self.send(request(form, streams)).unwrap();
        assert!(matches!(answer.status, 200 | 204), "{}: {}", answer.status, answer.text());
    }

    /// `POST /flush`, and expects it to be done.
    pub fn flush(&self) {
        self.send(Request::post("/flush", "")).unwrap().expect(204);
    }

    /// Lines that match.
    pub fn lines(&self, query: &Query) -> Lines {
        let (start, end) = (query.start.to_string(), query.end.to_string());
        let limit = query.limit.to_string();
        let parameters = [
            ("query", query.query.as_str()),
            ("start", &start),
            ("end", &end),
            ("limit", &limit),
            ("direction", query.direction),
        ];
        Lines::of(&self.ask("/loki/api/v1/query_range", &parameters).expect(200).json())
    }

    /// A metric of the node's own, summed over its labels; 0 where it does not exist yet.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").expect(200).text();
        let own = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        };
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        text.lines().filter(own).map(value).sum()
    }
}
