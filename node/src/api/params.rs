//! The parameters that Loki's query endpoints share: from the URL, from a form, with Loki's defaults, bounds
//! and error texts, checked in Loki's order (a request that is wrong twice gets the answer Loki gives).

use super::error::ApiError;
use super::time::{go_error, parse_duration, parse_step, parse_time};

const SECOND: i64 = 1_000_000_000;
/// How far back a query looks that does not say.
const DEFAULT_SINCE: i64 = 3600 * SECOND;
/// How many lines a query gets that does not say.
const DEFAULT_LIMIT: u32 = 100;
/// The most points a series of an answer may have.
const POINTS_MAX: i64 = 11_000;
/// A query that names no step gets so many points, with a step of whole seconds.
const DEFAULT_POINTS: i64 = 250;

/// Names and values as they came, the URL's before the form's.
#[derive(Clone, Debug, Default)]
pub struct Params(pub Vec<(String, String)>);

/// Which end of the time range a log query starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The newest line first.
    #[default]
    Backward,
    /// The oldest line first.
    Forward,
}

/// A range of time: ns since 1970, the start included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Inclusive.
    pub start: i64,
    /// Exclusive for log lines.
    pub end: i64,
}

/// `query_range`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeParams {
    /// The LogQL text.
    pub query: String,
    /// From when to when.
    pub bounds: Bounds,
    /// The most lines wanted.
    pub limit: u32,
    /// The order of lines.
    pub direction: Direction,
    /// Distance of points, ns, more than 0.
    pub step: i64,
    /// The least distance of lines, ns; 0 for all.
    pub interval: i64,
    /// An extension: the answer is to say how it was found.
    pub explain: bool,
    /// An extension: lines come in pages, and this is the one that is wanted.
    pub cursor: Option<String>,
    /// Too many series are to be told in part.
    pub in_part: bool,
    /// What the client calls itself, in `X-Query-Tags`.
    pub tags: String,
}

/// `query`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstantParams {
    /// The LogQL text.
    pub query: String,
    /// When, ns.
    pub time: i64,
    /// The most lines wanted.
    pub limit: u32,
    /// The order of lines.
    pub direction: Direction,
    /// An extension: the answer is to say how it was found.
    pub explain: bool,
}

impl Params {
    /// The first value of a parameter; an empty one counts as none.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(n, _)| n == name)?;
        (!value.is_empty()).then_some(value)
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// `start`, `end` and `since`.
    pub fn bounds(&self, now: i64) -> Result<Bounds, ApiError> {
        let wrong =
            |name: &str, why: String| ApiError::bad(format!("could not parse '{name}' parameter: {why}"));
        let time =
            |name: &str| self.get(name).map(|t| parse_time(t).map_err(|why| wrong(name, why))).transpose();
        let since = self.get("since").map(parse_duration).transpose().map_err(|why| wrong("since", why))?;
        let end = time("end")?.unwrap_or(now);
        let default_start = end.min(now).saturating_sub(since.unwrap_or(DEFAULT_SINCE));
        let start = time("start")?.unwrap_or(default_start);
        Ok(Bounds { start, end })
    }

    /// `start` and `end`, refused if they are the wrong way round.
    pub fn ascending_bounds(&self, now: i64) -> Result<Bounds, ApiError> {
        let bounds = self.bounds(now)?;
        match bounds.end < bounds.start {
            true => Err(ApiError::bad("end timestamp must not be before or equal to start time")),
            false => Ok(bounds),
        }
    }

    /// The same parameters as if no `limit` had been given.
    pub fn without_limit(&self) -> Self {
        Params(self.0.iter().filter(|(name, _)| name != "limit").cloned().collect())
    }

    /// All of `query_range`.
    pub fn range(&self, now: i64) -> Result<RangeParams, ApiError> {
        let bounds = self.ascending_bounds(now)?;
        let limit = self.limit()?;
        let direction = self.direction()?;
        let step = self.step(bounds)?;
        let interval = self.get("interval").map_or(Ok(0), parse_step).map_err(ApiError::bad)?;
        if interval < 0 {
            return Err(ApiError::bad("interval must be >= 0"));
        }
        Ok(RangeParams {
            query: self.query(),
            bounds,
            limit,
            direction,
            step,
            interval,
            explain: self.explain(),
            cursor: self.get("cursor").map(str::to_owned),
            in_part: false,
            tags: String::new(),
        })
    }

    /// All of `query`.
    pub fn instant(&self, now: i64) -> Result<InstantParams, ApiError> {
        let limit = self.limit()?;
        Ok(InstantParams {
            query: self.query(),
            time: self.time(now)?,
            limit,
            direction: self.direction()?,
            explain: self.explain(),
        })
    }

    /// `time`.
    pub fn time(&self, now: i64) -> Result<i64, ApiError> {
        let wrong = |why| ApiError::bad(format!("could not parse 'time' parameter: {why}"));
        self.get("time").map_or(Ok(now), |text| parse_time(text).map_err(wrong))
    }

    fn explain(&self) -> bool {
        self.get("explain") == Some("true")
    }

    /// The LogQL text; empty where there is none, which the parser refuses.
    pub fn query(&self) -> String {
        self.get("query").unwrap_or_default().to_owned()
    }

    /// `limit`, more than 0.
    pub fn limit(&self) -> Result<u32, ApiError> {
        self.positive("limit", DEFAULT_LIMIT)
    }

    /// A whole number more than 0.
    pub fn positive(&self, name: &str, default: u32) -> Result<u32, ApiError> {
        Self::positive_of(name, self.get(name), default)
    }

    /// The same of a value that goes by another name too.
    pub fn positive_of(name: &str, text: Option<&str>, default: u32) -> Result<u32, ApiError> {
        let Some(text) = text else { return Ok(default) };
        let number: i64 =
            text.parse().map_err(|error| ApiError::bad(go_error("strconv.Atoi", text, &error)))?;
        match u32::try_from(number) {
            Ok(0) | Err(_) if number <= 0 => Err(ApiError::bad(format!("{name} must be a positive value"))),
            Ok(number) => Ok(number),
            Err(_) => Ok(u32::MAX),
        }
    }

    /// `direction`.
    pub fn direction(&self) -> Result<Direction, ApiError> {
        match self.get("direction").map(str::to_uppercase).as_deref() {
            None | Some("BACKWARD") => Ok(Direction::Backward),
            Some("FORWARD") => Ok(Direction::Forward),
            Some(_) => {
                let text = self.get("direction").unwrap_or_default();
                Err(ApiError::bad(format!("invalid direction '{text}'")))
            }
        }
    }

    /// `step`: more than 0 and not so small that a series has too many points.
    pub fn step(&self, bounds: Bounds) -> Result<i64, ApiError> {
        let length = bounds.end.saturating_sub(bounds.start);
        let default = (length / SECOND / DEFAULT_POINTS).max(1) * SECOND;
        let step = self.get("step").map_or(Ok(default), parse_step).map_err(ApiError::bad)?;
        if step <= 0 {
            let text =
                "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(ApiError::bad(text));
        }
        if length / step > POINTS_MAX {
            let text = "exceeded maximum resolution of 11,000 points per time series. \
                        Try increasing the value of the step parameter";
            return Err(ApiError::bad(text));
        }
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Direction, Params, SECOND};

    const NOW: i64 = 1_700_000_000 * SECOND;

    fn params(text: &str) -> Params {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Params(pairs.map(|(n, v)| (n.into(), v.into())).collect())
    }

    #[test]
    fn bounds_default_to_the_last_hour() {
        let check = |text: &str, start: i64, end: i64| {
            assert_eq!(params(text).bounds(NOW).unwrap(), Bounds { start, end }, "{text}");
        };
        check("", NOW - 3600 * SECOND, NOW);
        check("since=5m", NOW - 300 * SECOND, NOW);
        check("end=1600000000", 1_600_000_000 * SECOND - 3600 * SECOND, 1_600_000_000 * SECOND);
        // An end in the future does not pull the start along.
        check("end=1700009999&since=5m", NOW - 300 * SECOND, 1_700_009_999 * SECOND);
        check("start=5&end=6", 5 * SECOND, 6 * SECOND);
    }

    #[test]
    fn the_step_follows_the_range() {
        let step = |text: &str| params(text).range(NOW).unwrap().step / SECOND;
        assert_eq!(step("start=0&end=10"), 1);
        assert_eq!(step("start=0&end=86400"), 345);
        assert_eq!(step("start=0&end=86400&step=1h"), 3600);
    }

    #[test]
    fn limit_and_direction_are_read() {
        let range = params("limit=7&direction=FORWARD").range(NOW).unwrap();
        assert_eq!((range.limit, range.direction), (7, Direction::Forward));
        let range = params("").range(NOW).unwrap();
        assert_eq!((range.limit, range.direction), (100, Direction::Backward));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_in_lokis_words() {
        for (text, error) in [
            ("start=x", "could not parse 'start' parameter: strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("since=1x", "could not parse 'since' parameter: unknown unit \"x\" in duration \"1x\""),
            ("start=2&end=1", "end timestamp must not be before or equal to start time"),
            ("limit=0", "limit must be a positive value"),
            ("limit=-1", "limit must be a positive value"),
            ("limit=abc", "strconv.Atoi: parsing \"abc\": invalid syntax"),
            (
                "limit=9999999999999999999",
                "strconv.Atoi: parsing \"9999999999999999999\": value out of range",
            ),
            ("direction=up", "invalid direction 'up'"),
            (
                "step=0",
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            ),
            ("step=abc", "cannot parse \"abc\" to a valid duration"),
            (
                "start=0&end=11001&step=1",
                "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
            ),
            ("interval=-1", "interval must be >= 0"),
        ] {
            assert_eq!(params(text).range(NOW).unwrap_err().to_string(), error, "{text}");
        }
    }
}
