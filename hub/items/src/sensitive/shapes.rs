//! What the shape of a text says. Each rule wants a whole word of the text, and enough of it that a measured value does
//! not fit by chance; a device that means to hide what it sends is not what these are for.

use super::Class;

/// What a text shows; none if nothing. Reads the text a few times and no more.
pub(super) fn class_of(text: &str) -> Option<Class> {
    if text.contains("-----BEGIN ") {
        return Some(if text.contains("PRIVATE KEY-----") { Class::Credential } else { Class::Id });
    }
    if is_nmea(text) || is_pair(text) {
        return Some(Class::Location);
    }
    if is_phone(text.trim()) {
        return Some(Class::Person);
    }
    let apart = |letter: char| letter.is_whitespace() || "<>()[]{},;\"'=|".contains(letter);
    text.split(apart).find_map(|whole| {
        let word = whole.trim_end_matches(['.', '!', '?']);
        let bare = word.strip_prefix("mailto:").unwrap_or(word);
        if is_jwt(whole) || is_jwt(word) {
            Some(Class::Credential)
        } else if is_email(bare) {
            Some(Class::Person)
        } else if is_mac(word) || is_imei(word) || is_vin(word) {
            Some(Class::Id)
        } else {
            None
        }
    })
}

/// `$GPGGA,…` and its like: sentences of a receiver that tell where it is.
fn is_nmea(text: &str) -> bool {
    let sentence = text.trim_start().strip_prefix('$').and_then(|rest| rest.get(..6));
    sentence.is_some_and(|head| {
        head.starts_with('G') && ["GGA,", "RMC,", "GLL,", "GNS,"].iter().any(|kind| head.ends_with(kind))
    })
}

/// `52.5200, 13.4050`: two decimal fractions of three digits and more, within the bounds of a place on the earth.
fn is_pair(text: &str) -> bool {
    let degree = |text: &str, max: f64| {
        let fraction = text.trim().rsplit_once('.').map_or("", |(_, fraction)| fraction);
        fraction.len() >= 3
            && fraction.bytes().all(|byte| byte.is_ascii_digit())
            && text.trim().parse::<f64>().is_ok_and(|degree| degree.abs() <= max)
    };
    let text = text.trim().strip_prefix("geo:").unwrap_or(text);
    text.split_once([',', ';']).is_some_and(|(lat, lon)| degree(lat, 90.0) && degree(lon, 180.0))
}

/// `+49 30 123456`: a number with its country (ITU-T E.164), 8 to 15 digits.
fn is_phone(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('+') else { return false };
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    (8..=15).contains(&digits)
        && rest.bytes().next().is_some_and(|first| (b'1'..=b'9').contains(&first))
        && rest.bytes().all(|byte| byte.is_ascii_digit() || b" -()/".contains(&byte))
}

/// Three parts in base64url, and the first of them begins as a JSON object does (RFC 7519 §3.1).
fn is_jwt(word: &str) -> bool {
    let base64 = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let mut parts = word.split('.');
    let (head, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    head.starts_with("eyJ")
        && base64(head)
        && base64(body)
        && parts.next().is_some_and(|tag| tag.is_empty() || base64(tag))
        && parts.next().is_none()
}

fn is_email(word: &str) -> bool {
    let Some((local, domain)) = word.rsplit_once('@') else { return false };
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&*+-/?^_`~".contains(&byte) || byte >= 0x80;
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte >= 0x80)
    };
    let top = domain.rsplit_once('.').map_or("", |(_, top)| top);
    !local.is_empty()
        && local.bytes().all(atom)
        && domain.split('.').all(label)
        && top.len() >= 2
        && !top.bytes().all(|byte| byte.is_ascii_digit())
}

/// Six or eight pairs of hexadecimal digits, with one kind of sign between them.
fn is_mac(word: &str) -> bool {
    [':', '-'].into_iter().any(|sign| {
        let mut pairs = 0;
        let fits = word.split(sign).all(|pair| {
            pairs += 1;
            pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        fits && (pairs == 6 || pairs == 8)
    })
}

/// Fifteen digits of which the last checks the others (3GPP TS 23.003 §6.2).
fn is_imei(word: &str) -> bool {
    word.len() == 15
        && word.bytes().all(|byte| byte.is_ascii_digit())
        && word.bytes().any(|byte| byte != b'0')
        && word.bytes().enumerate().map(|(at, byte)| luhn(at, byte)).sum::<u32>() % 10 == 0
}

fn luhn(at: usize, digit: u8) -> u32 {
    let digit = u32::from(digit - b'0');
    // From the right the second, fourth, ... digit counts twice; of fifteen those are the ones at odd places.
    if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { digit }
}

/// Seventeen letters and digits of which the ninth checks the others (49 CFR 565.15).
fn is_vin(word: &str) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    if word.len() != 17 || !word.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return false;
    }
    let Some(values) = word.bytes().map(vin_value).collect::<Option<Vec<u32>>>() else { return false };
    let check = values.iter().zip(WEIGHTS).map(|(value, weight)| value * weight).sum::<u32>() % 11;
    let ninth = word.as_bytes().get(8).copied();
    if check == 10 {
        ninth == Some(b'X')
    } else {
        ninth.and_then(|b| b.checked_sub(b'0')).map(u32::from) == Some(check)
    }
}

fn vin_value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'0'..=b'9' => byte - b'0',
        b'A'..=b'H' => byte - b'A' + 1,
        b'J'..=b'N' => byte - b'J' + 1,
        b'P' => 7,
        b'R' => 9,
        b'S'..=b'Z' => byte - b'S' + 2,
        _ => return None,
    };
    Some(u32::from(value))
}
