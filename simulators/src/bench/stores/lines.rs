//! SenML packs as line protocol: a line for each pack, with all its values as fields, as a good client writes it.

use std::fmt::Write as _;

use muster_schemas::senml::{Pack, Value};

use super::super::BenchError;

/// Points as line protocol.
#[derive(Debug, Default)]
pub struct Lines {
    text: String,
    /// Where each line ends.
    ends: Vec<usize>,
    /// Values of all lines together.
    pub points: usize,
}

impl Lines {
    /// What these packs say, as points of `measurement`, with the device as their tag.
    ///
    /// # Errors
    /// A pack is none, or has something else than numbers.
    pub fn of(measurement: &str, packs: impl Iterator<Item = Vec<u8>>) -> Result<Self, BenchError> {
        let mut lines = Self::default();
        for pack in packs {
            lines.add(measurement, &pack)?;
        }
        Ok(lines)
    }

    fn add(&mut self, measurement: &str, pack: &[u8]) -> Result<(), BenchError> {
        let odd = |what: &str| BenchError::Odd(format!("a pack to measure with has {what}"));
        let records =
            Pack::parse(pack).and_then(|pack| pack.resolve(0.0)).map_err(|error| odd(&error.to_string()))?;
        let mut time_ms = None;
        for record in &records {
            let (base, name) = record.name.rsplit_once(':').ok_or_else(|| odd("a name without a device"))?;
            let Some(Value::Number(value)) = record.value else {
                return Err(odd("something else than numbers"));
            };
            // Writing to a String does not fail.
            let _ = match time_ms {
                None => {
                    let device = base.trim_start_matches("urn:dev:");
                    write!(self.text, "{measurement},device={device} {name}={value}")
                }
                Some(_) => write!(self.text, ",{name}={value}"),
            };
            time_ms = Some((record.time_s * 1_000.0).round() as i64);
        }
        let time_ms = time_ms.ok_or_else(|| odd("no record"))?;
        let _ = writeln!(self.text, " {time_ms}000000");
        self.ends.push(self.text.len());
        self.points += records.len();
        Ok(())
    }

    /// Requests of so many lines.
    pub fn requests(&self, lines: usize) -> impl Iterator<Item = &str> {
        let mut begin = 0;
        self.ends.chunks(lines.max(1)).filter_map(move |ends| {
            let end = *ends.last()?;
            let request = self.text.get(begin..end);
            begin = end;
            request
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_is_a_line_and_a_request_has_so_many() {
        let pack = |time_s: f64| {
            let mut pack = Pack::new("urn:dev:press-00001:", time_s);
            pack.number("temperature", Some("Cel"), 21.5).number("state", None, 3.0);
            pack.encode_cbor()
        };
        let lines = Lines::of("climate", (0..3).map(|at| pack(1_760_054_400.025 + f64::from(at)))).unwrap();
        assert_eq!(lines.points, 6);
        let requests: Vec<_> = lines.requests(2).collect();
        assert_eq!(
            requests,
            [
                "climate,device=press-00001 temperature=21.5,state=3 1760054400025000000\n\
                 climate,device=press-00001 temperature=21.5,state=3 1760054401025000000\n",
                "climate,device=press-00001 temperature=21.5,state=3 1760054402025000000\n",
            ]
        );
    }
}
