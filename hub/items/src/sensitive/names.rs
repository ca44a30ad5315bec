//! What names and units say. Only the last segment of a name counts, and only whole words of it: `motor/gps-lat`,
//! `gpsLat` and `lat` are places, `latency` and `lat/raw-count` are not.

use super::Class;

/// Where in the segment the words of a rule stand.
#[derive(Clone, Copy)]
enum At {
    /// Anywhere.
    Any,
    /// At its end: `api-key`, not `key-count`.
    End,
    /// They are all of it: `name`, not `file-name`.
    All,
}

use At::{All, Any, End};
use Class::{Credential, Id, Location, Person};

/// Words, where they stand, and what they mean. The first rule that fits decides, so what opens a door comes first.
const RULES: &[(&str, At, Class)] = &[
    ("password", Any, Credential),
    ("passwd", Any, Credential),
    ("passphrase", Any, Credential),
    ("pwd", End, Credential),
    ("passcode", Any, Credential),
    ("pin code", Any, Credential),
    ("secret", Any, Credential),
    ("credential", Any, Credential),
    ("credentials", Any, Credential),
    ("token", End, Credential),
    ("jwt", Any, Credential),
    ("psk", End, Credential),
    ("apikey", Any, Credential),
    ("key", End, Credential),
    ("private key", Any, Credential),
    ("otp", All, Credential),
    ("lat", Any, Location),
    ("latitude", Any, Location),
    ("lon", Any, Location),
    ("lng", Any, Location),
    ("long", All, Location),
    ("longitude", Any, Location),
    ("alt", All, Location),
    ("altitude", End, Location),
    ("gps", Any, Location),
    ("gnss", Any, Location),
    ("geo", Any, Location),
    ("geohash", Any, Location),
    ("geolocation", Any, Location),
    ("nmea", Any, Location),
    ("coordinates", Any, Location),
    ("coord", Any, Location),
    ("location", End, Location),
    ("position", All, Location),
    ("pos", All, Location),
    ("olc", All, Location),
    ("mac", End, Id),
    ("mac address", Any, Id),
    ("bssid", End, Id),
    ("imei", Any, Id),
    ("imsi", Any, Id),
    ("iccid", Any, Id),
    ("eid", All, Id),
    ("msisdn", Any, Person),
    ("vin", End, Id),
    ("license plate", Any, Id),
    ("licence plate", Any, Id),
    ("number plate", Any, Id),
    ("plate", All, Id),
    ("serial", End, Id),
    ("serial number", Any, Id),
    ("serial no", Any, Id),
    ("serialnumber", Any, Id),
    ("sn", All, Id),
    ("ip address", Any, Id),
    ("email", Any, Person),
    ("e mail", Any, Person),
    ("mail", All, Person),
    ("phone", Any, Person),
    ("telephone", Any, Person),
    ("mobile number", Any, Person),
    ("name", All, Person),
    ("first name", Any, Person),
    ("last name", Any, Person),
    ("full name", Any, Person),
    ("given name", Any, Person),
    ("family name", Any, Person),
    ("surname", Any, Person),
    ("user name", Any, Person),
    ("username", Any, Person),
    ("user", All, Person),
    ("owner", End, Person),
    ("owner name", Any, Person),
    ("driver", End, Person),
    ("driver name", Any, Person),
    ("operator name", Any, Person),
    ("patient", End, Person),
    ("patient name", Any, Person),
    ("customer name", Any, Person),
    ("person", End, Person),
    ("employee", End, Person),
    ("driver id", Any, Person),
    ("patient id", Any, Person),
    ("employee id", Any, Person),
    ("badge id", Any, Person),
    ("badge", All, Person),
    ("birthday", Any, Person),
    ("birthdate", Any, Person),
    ("date of birth", Any, Person),
    ("dob", All, Person),
    ("street", End, Person),
    ("home address", Any, Person),
    ("postal address", Any, Person),
    ("passport", Any, Person),
    ("ssn", All, Person),
    ("iban", Any, Person),
];

/// The words of a segment that are looked at; a longer one is not a name that a person wrote.
const WORDS_MAX: usize = 16;

/// What a name and a unit say; none if nothing.
pub(super) fn class_of(name: &str, unit: Option<&str>) -> Option<Class> {
    // The units of latitude and longitude (RFC 8428 §12.1).
    if matches!(unit, Some("lat" | "lon")) {
        return Some(Location);
    }
    let segment = name.rsplit(['/', ':', '.']).find(|segment| !segment.is_empty())?;
    let words = words(segment);
    let public = words.windows(2).any(|pair| pair == ["public", "key"]);
    let found = RULES.iter().find(|(rule, at, _)| fits(&words, rule, *at))?;
    // A public key opens nothing, but tells which thing it is.
    Some(if public && found.2 == Credential { Id } else { found.2 })
}

fn fits(words: &[String], rule: &str, at: At) -> bool {
    let length = rule.split(' ').count();
    let same = |window: &[String]| window.iter().map(String::as_str).eq(rule.split(' '));
    match at {
        Any => words.windows(length).any(same),
        End => words.len().checked_sub(length).and_then(|from| words.get(from..)).is_some_and(same),
        All => same(words),
    }
}

/// `gpsLat`, `gps_lat`, `GPS-LAT` and `gps lat2` are two words each. A number behind a word is not part of it.
fn words(segment: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut before = ' ';
    let mut letters = segment.chars().peekable();
    while let Some(letter) = letters.next() {
        let hump = letter.is_uppercase()
            && (before.is_lowercase()
                || (before.is_uppercase() && letters.peek().is_some_and(|next| next.is_lowercase())));
        if (hump || !letter.is_alphabetic()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if words.len() == WORDS_MAX {
            return words;
        }
        if letter.is_alphabetic() {
            word.extend(letter.to_lowercase());
        }
        before = letter;
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}
