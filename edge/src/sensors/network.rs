//! Bytes that crossed the network interfaces since boot, from `/proc/net/dev`.

/// Sums of the counters of all interfaces but the loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Traffic {
    /// Received, in bytes.
    pub(super) received: u64,
    /// Sent, in bytes.
    pub(super) sent: u64,
}

/// Reads `/proc/net/dev`: two lines of headings, then `name: received-bytes … sent-bytes …`, eight columns each.
pub(super) fn parse(dev: &str) -> Option<Traffic> {
    let mut rows = dev.lines().filter_map(|line| line.split_once(':')).peekable();
    rows.peek()?;
    let mut traffic = Traffic::default();
    for (name, counters) in rows {
        if name.trim() == "lo" {
            continue;
        }
        let mut counters = counters.split_ascii_whitespace();
        let received: u64 = counters.next()?.parse().ok()?;
        let sent: u64 = counters.nth(7)?.parse().ok()?;
        traffic.received = traffic.received.saturating_add(received);
        traffic.sent = traffic.sent.saturating_add(sent);
    }
    Some(traffic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1748310    9123    0    0    0     0          0         0  1748310    9123    0    0    0     0       0          0
  eth0:7361283   51230    0    2    0     0          0         0  1021334   31299    0    0    0     0       0          0
 wlan0: 1000      10    0    0    0     0          0         0     2000      20    0    0    0     0       0          0
";

    #[test]
    fn interfaces_are_summed_without_the_loopback() {
        assert_eq!(parse(DEV), Some(Traffic { received: 7_362_283, sent: 1_023_334 }));
    }

    #[test]
    fn what_is_no_table_gives_nothing() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("  eth0: 1 2 3\n"), None);
    }
}
