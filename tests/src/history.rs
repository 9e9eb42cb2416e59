//! A log as it would be after many calls, written without making them: lines in an app's log folder, in the form the
//! server writes. For questions about much that was kept.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::App;

/// Lines per file, which keeps each about as large as the server's own.
const LINES_PER_FILE: usize = 80_000;

/// Epoch milliseconds now.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Writes `count` endpoint entries that began in the last hour, the newest a minute ago, over four routes. Every entry has a
/// console line that names its number and one with words of a few hundred; one in a hundred failed. `server_data` is the
/// server's data directory. Gives the bytes written.
pub fn write(server_data: &Path, app: &App, count: usize) -> u64 {
    let folder = server_data.join("logs").join(&app.id);
    std::fs::create_dir_all(&folder).expect("our own directory");
    let end = now_ms() - 60_000;
    let begin = end - 3_540_000;
    let mut bytes = 0;
    let mut file: Option<(String, usize, BufWriter<File>)> = None;
    let mut numbers = std::collections::HashMap::<String, usize>::new();
    for number in 0..count {
        let started = begin + (end - begin) * number as i64 / count as i64;
        let completed = started + 3 + (number % 40) as i64;
        let day = day(completed);
        if file.as_ref().is_none_or(|(of, lines, _)| *of != day || *lines >= LINES_PER_FILE) {
            let of_day = numbers.entry(day.clone()).or_default();
            let name = if *of_day == 0 { format!("{day}.jsonl") } else { format!("{day}-{of_day}.jsonl") };
            *of_day += 1;
            let made = File::create(folder.join(name)).expect("our own file");
            file = Some((day, 0, BufWriter::with_capacity(1 << 20, made)));
        }
        let Some((_, lines, out)) = &mut file else { continue };
        *lines += 1;
        let line = line(app, number, started, completed);
        bytes += line.len() as u64;
        out.write_all(line.as_bytes()).expect("room for a log");
    }
    bytes
}

fn line(app: &App, number: usize, started: i64, completed: i64) -> String {
    const WORDS: [&str; 16] = [
        "order", "payment", "customer", "invoice", "shipped", "pending", "retry", "cached", "gateway", "timeout",
        "basket", "voucher", "address", "refund", "partner", "stock",
    ];
    let word = |salt: usize| WORDS[(number * 31 + salt * 17 + number / 7) % WORDS.len()];
    let route = number % 4;
    let (status, error) = if number % 100 == 99 {
        let error = r#""error":"{\"message\":\"card declined\",\"name\":\"Error\"}","error_code":"FunctionExecutionError","error_details":{"stack":"    at exports (functions/shop/checkout.js:42:11)"},"#;
        (400, error)
    } else {
        (200, "")
    };
    format!(
        concat!(
            r#"{{"_id":"{number:024x}","co_id":"{co_id:024x}","type":"ENDPOINT","domain_id":"{app}","app_id":"{app}","#,
            r#""group_id":"{app}","request_url":"/app/{client}/endpoint/shop/{route}","request_method":"GET","#,
            r#""started":"{started}","completed":"{completed}","remote_ip_address":"203.0.113.{ip}","status":{status},{error}"#,
            r#""function_call_location":"US-VA","function_call_provider_region":"aws-us-east-1","#,
            r#""function_id":"{function:024x}","function_name":"shop/{route}","endpoint_id":"{endpoint:024x}","#,
            r#""endpoint_route":"/shop/{route}","mem_time_usage":{usage},"#,
            r#""messages":["call number {number} of {first}","{first} {second} {third} is {fourth}"],"#,
            r#""function_call":{{"name":"shop/{route}","arguments":null}},"#,
            r#""endpoint_args":"{{\"query\":{{\"n\":\"{number}\"}},\"headers\":{{\"Host\":[\"shop.example\"],\"Accept\":[\"*/*\"]}}}}"}}"#,
            "\n"
        ),
        number = number,
        co_id = number + 0x1000_0000,
        app = app.id,
        client = app.client_app_id,
        route = route,
        started = iso(started),
        completed = iso(completed),
        ip = number % 250,
        status = status,
        error = error,
        function = route + 100,
        endpoint = route + 200,
        usage = 1_000_000 + number,
        first = word(1),
        second = word(2),
        third = word(3),
        fourth = word(4),
    )
}

/// Epoch milliseconds as the server writes them: the fraction's trailing zeros dropped.
pub fn iso(ms: i64) -> String {
    let (year, month, day) = date(ms);
    let (seconds, fraction) = (ms.rem_euclid(86_400_000) / 1000, ms.rem_euclid(1000));
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = match fraction {
        0 => String::new(),
        fraction => format!(".{}", format!("{fraction:03}").trim_end_matches('0')),
    };
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}{fraction}Z")
}

/// The UTC day of a time, as segments are named.
pub fn day(ms: i64) -> String {
    let (year, month, day) = date(ms);
    format!("{year:04}{month:02}{day:02}")
}

/// Year, month and day of a time, with years that begin in March.
fn date(ms: i64) -> (i64, i64, i64) {
    let days = ms.div_euclid(86_400_000) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_server_writes_them() {
        for (ms, text) in [
            (1_700_000_000_410, "2023-11-14T22:13:20.41Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00Z"),
            (1_735_689_599_007, "2024-12-31T23:59:59.007Z"),
            (0, "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(iso(ms), text);
        }
        assert_eq!(day(1_709_164_800_000), "20240229");
    }
}
