//! Downloads from a server in this process, which behaves well or badly.

use super::connection::Connection;
use super::*;
use crate::ErrorKind;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use tempfile::TempDir;

/// What a request asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    path: String,
    start: u64,
}

/// What a server does with a connection.
type Behaviour = fn(&Request, &mut TcpStream) -> io::Result<()>;

/// A server that keeps what it was asked.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn new(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = requests.clone();
        // Ends with the test program.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, kept) = (stream.unwrap(), kept.clone());
                thread::spawn(move || {
                    let request = read_request(&stream);
                    kept.lock().unwrap().push(request.clone());
                    // A client that has gone away is none of the server's business.
                    let _ = behaviour(&request, &mut stream);
                });
            }
        });
        Self { address, requests }
    }

    fn starts(&self) -> Vec<u64> {
        self.requests.lock().unwrap().iter().map(|request| request.start).collect()
    }
}

fn read_request(stream: &TcpStream) -> Request {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let range = headers.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("range").then(|| value.to_owned())
    });
    let start = range.map_or(0, |range| range["bytes=".len()..range.len() - 1].parse().unwrap());
    Request { path: first.split(' ').nth(1).unwrap().to_owned(), start }
}

const LENGTH: usize = 300_000;

fn content() -> Vec<u8> {
    (0..LENGTH).map(|index| (index * index / 7) as u8).collect()
}

/// A good answer, of which only `most` bytes of content are sent.
fn answer(request: &Request, stream: &mut TcpStream, content: &[u8], most: usize) -> io::Result<()> {
    let (start, length) = (request.start as usize, content.len());
    let status = match start {
        0 => "200 OK".to_owned(),
        _ => format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{length}", length - 1),
    };
    let rest = &content[start..];
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len())?;
    stream.write_all(&rest[..rest.len().min(most)])
}

fn good(request: &Request, stream: &mut TcpStream) -> io::Result<()> {
    answer(request, stream, &content(), usize::MAX)
}

fn cut(request: &Request, stream: &mut TcpStream) -> io::Result<()> {
    answer(request, stream, &content(), 100_000)
}

fn empty_handed(_: &Request, stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot found")
}

fn file() -> File {
    let hash: String = Sha256::digest(content()).iter().map(|byte| format!("{byte:02x}")).collect();
    File { name: "things.gz", bytes: LENGTH as u64, sha256: hash.leak() }
}

fn settings(folder: &TempDir, servers: &[&Server]) -> Settings {
    Settings {
        cache: folder.path().to_owned(),
        mirrors: servers.iter().map(|server| server.address.clone()).collect(),
        patience: Duration::from_secs(2),
        window: Duration::from_millis(300),
        slowest: 100_000,
    }
}

fn download(folder: &TempDir, servers: &[&Server]) -> Result<PathBuf, DataError> {
    fetch("things", &[file()], &settings(folder, servers), &Progress::default())
}

/// The file is whole, and nothing else is left.
fn check_whole(folder: &TempDir) {
    let things = folder.path().join("things");
    assert_eq!(fs::read(things.join("things.gz")).unwrap(), content());
    assert_eq!(fs::read_dir(things).unwrap().count(), 1);
}

fn keep_part(folder: &TempDir, bytes: &[u8]) {
    fs::create_dir_all(folder.path().join("things")).unwrap();
    fs::write(folder.path().join("things/things.gz.part"), bytes).unwrap();
}

#[test]
fn a_file_is_fetched_once_with_progress() {
    let (folder, server) = (TempDir::new().unwrap(), Server::new(good));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let progress = Progress::new(move |loading: &Loading<'_>| {
        assert_eq!((loading.task, loading.total), ("downloading things.gz", LENGTH as u64));
        told.lock().unwrap().push(loading.done);
    });
    for _ in 0..2 {
        let path = fetch("things", &[file()], &settings(&folder, &[&server]), &progress).unwrap();
        assert_eq!(path, folder.path().join("things"));
        check_whole(&folder);
    }
    assert_eq!(*server.requests.lock().unwrap(), [Request { path: "/things.gz".into(), start: 0 }]);
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&(LENGTH as u64)));
}

#[test]
fn what_is_kept_of_a_file_is_not_fetched_again() {
    let (folder, server) = (TempDir::new().unwrap(), Server::new(good));
    keep_part(&folder, &content()[..120_000]);
    download(&folder, &[&server]).unwrap();
    check_whole(&folder);
    assert_eq!(server.starts(), [120_000]);
}

#[test]
fn a_broken_connection_is_taken_up_again() {
    let (folder, server) = (TempDir::new().unwrap(), Server::new(cut));
    download(&folder, &[&server]).unwrap();
    check_whole(&folder);
    assert_eq!(server.starts(), [0, 100_000, 200_000]);
}

#[test]
fn a_server_that_knows_no_parts_sends_all_of_it() {
    let (folder, server) = (
        TempDir::new().unwrap(),
        Server::new(|request, stream| good(&Request { start: 0, ..request.clone() }, stream)),
    );
    keep_part(&folder, b"something else");
    download(&folder, &[&server]).unwrap();
    check_whole(&folder);
    assert_eq!(server.starts(), [14]);
}

#[test]
fn a_wrong_beginning_is_thrown_away() {
    let (folder, server) = (TempDir::new().unwrap(), Server::new(good));
    keep_part(&folder, &[1; 1000]);
    download(&folder, &[&server]).unwrap();
    check_whole(&folder);
    assert_eq!(server.starts(), [1000, 0]);
    // So is one that is too long, and a whole file that was damaged afterwards.
    keep_part(&folder, &[1; LENGTH + 1]);
    fs::write(folder.path().join("things/things.gz"), vec![0; LENGTH]).unwrap();
    download(&folder, &[&server]).unwrap();
    check_whole(&folder);
    assert_eq!(server.starts(), [1000, 0, 0]);
}

#[test]
fn the_next_mirror_helps_when_one_has_nothing_or_something_else() {
    let other: Behaviour = |request, stream| answer(request, stream, &vec![7; LENGTH], usize::MAX);
    let short: Behaviour = |request, stream| answer(request, stream, &content()[..1000], usize::MAX);
    let silent: Behaviour = |_, _| {
        thread::sleep(Duration::from_secs(30));
        Ok(())
    };
    for bad in [empty_handed, other, short, silent] {
        let (folder, bad, server) = (TempDir::new().unwrap(), Server::new(bad), Server::new(good));
        download(&folder, &[&bad, &server]).unwrap();
        check_whole(&folder);
        assert_eq!((bad.starts(), server.starts()), (vec![0], vec![0]));
    }
}

#[test]
fn when_no_mirror_helps_the_message_says_how_each_failed() {
    let wrong: Behaviour = |request, stream| answer(request, stream, &vec![7; LENGTH], usize::MAX);
    let long: Behaviour = |request, stream| answer(request, stream, &vec![7; LENGTH + 1], usize::MAX);
    let (folder, nobody) = (TempDir::new().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let nobody_address = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let servers = [Server::new(empty_handed), Server::new(wrong), Server::new(long)];
    let mut settings = settings(&folder, &servers.each_ref());
    settings.mirrors.push(nobody_address.clone());
    let error = fetch("things", &[file()], &settings, &Progress::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let message = error.to_string();
    for (server, cause) in servers.iter().map(|server| &server.address).chain([&nobody_address]).zip([
        "answered with status 404",
        "has another file of this name (SHA-256 ",
        "has a file of 300001 bytes, expected 300000",
        "",
    ]) {
        assert!(message.contains(&format!("{server}: {cause}")), "{message}");
    }
    assert!(
        message.starts_with("things.gz: cannot be downloaded (") && message.contains("refused"),
        "{message}"
    );
    assert!(message.contains(&format!("fetch {}things.gz by hand into", servers[0].address)), "{message}");
    assert_eq!(message.lines().count(), 1);
    assert!(!folder.path().join("things/things.gz").exists(), "nothing wrong has the name of the file");
}

#[test]
fn a_slow_mirror_is_left_for_a_faster_one_and_taken_when_there_is_none() {
    // 20,000 bytes every 0.2 seconds: as many a second as are too few.
    let slow: Behaviour = |request, stream| {
        answer(request, stream, &content(), 0)?;
        content()[request.start as usize..].chunks(10_000).try_for_each(|piece| {
            thread::sleep(Duration::from_millis(200));
            stream.write_all(piece)
        })
    };
    let (folder, snail, server) = (TempDir::new().unwrap(), Server::new(slow), Server::new(good));
    download(&folder, &[&snail, &server]).unwrap();
    check_whole(&folder);
    assert!(server.starts()[0] > 0, "what the slow one has sent is not lost");
    let (folder, snail) = (TempDir::new().unwrap(), Server::new(slow));
    keep_part(&folder, &content()[..200_000]);
    download(&folder, &[&snail]).unwrap();
    check_whole(&folder);
    assert_eq!(snail.starts().len(), 2);
}

#[test]
fn redirections_are_followed_but_not_for_ever() {
    let round: Behaviour = |request, stream| match request.path.as_str() {
        "/elsewhere" => good(request, stream),
        _ => stream.write_all(
            b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
    };
    let (folder, server) = (TempDir::new().unwrap(), Server::new(round));
    keep_part(&folder, &content()[..5_000]);
    download(&folder, &[&server]).unwrap();
    check_whole(&folder);
    assert_eq!(server.starts(), [5_000, 5_000]);
    let endless: Behaviour = |_, stream| {
        stream.write_all(
            b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )
    };
    let (folder, server) = (TempDir::new().unwrap(), Server::new(endless));
    assert!(download(&folder, &[&server]).is_err());
    assert!(server.starts().len() < 10);
}

#[test]
fn two_at_a_time_fetch_it_once() {
    let (folder, server) = (
        TempDir::new().unwrap(),
        Server::new(|request, stream| {
            thread::sleep(Duration::from_millis(300));
            good(request, stream)
        }),
    );
    thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| download(&folder, &[&server])));
        both.into_iter().for_each(|thread| drop(thread.join().unwrap().unwrap()));
    });
    check_whole(&folder);
    assert_eq!(server.starts(), [0]);
}

#[test]
fn a_page_in_place_of_the_file_is_not_kept() {
    // Without a length, so that only its end shows how short it is.
    let page: Behaviour =
        |_, stream| stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html>log in</html>");
    let (folder, portal) = (TempDir::new().unwrap(), Server::new(page));
    let message = download(&folder, &[&portal]).unwrap_err().to_string();
    assert!(message.contains("has a file of 19 bytes, expected 300000"), "{message}");
    assert_eq!(fs::read_dir(folder.path().join("things")).unwrap().count(), 0, "no empty file is left");
    let (portal, server) = (Server::new(page), Server::new(good));
    download(&folder, &[&portal, &server]).unwrap();
    check_whole(&folder);
    assert_eq!(server.starts(), [0]);
}

#[test]
fn an_interrupt_ends_it_soon_and_keeps_what_is_there() {
    let silent: Behaviour = |request, stream| {
        answer(request, stream, &content(), 100_000)?;
        thread::sleep(Duration::from_secs(30));
        Ok(())
    };
    let (folder, server) = (TempDir::new().unwrap(), Server::new(silent));
    let things = folder.path().join("things/things.gz.part");
    let part = things.clone();
    let has_some = move || fs::metadata(&part).is_ok_and(|metadata| metadata.len() == 100_000);
    let patient = Settings {
        patience: Duration::from_secs(60),
        window: Duration::from_secs(60),
        ..settings(&folder, &[&server])
    };
    let start = Instant::now();
    let error = fetch("things", &[file()], &patient, &Progress::default().until(has_some)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(start.elapsed() < Duration::from_secs(20), "it did not wait for the server");
    assert_eq!(fs::read(things).unwrap(), content()[..100_000]);
}

#[test]
fn who_waits_for_another_process_is_told_and_can_be_interrupted() {
    let (folder, server) = (TempDir::new().unwrap(), Server::new(good));
    keep_part(&folder, &content()[..1000]);
    let other = fs::File::open(folder.path().join("things/things.gz.part")).unwrap();
    other.lock().unwrap();
    let told = Arc::new(Mutex::new(None));
    let (listener, seen) = (told.clone(), told.clone());
    let progress = Progress::new(move |loading: &Loading<'_>| {
        *listener.lock().unwrap() = Some((loading.task.to_owned(), loading.done));
    });
    let progress = progress.until(move || seen.lock().unwrap().is_some());
    let error = fetch("things", &[file()], &settings(&folder, &[&server]), &progress).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let expected = ("waiting for another process that downloads things.gz".to_owned(), 1000);
    assert_eq!(*told.lock().unwrap(), Some(expected));
    drop(other);
    download(&folder, &[&server]).unwrap();
    check_whole(&folder);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (folder, server) = (TempDir::new().unwrap(), Server::new(good));
    fs::write(folder.path().join("things"), "a file").unwrap();
    let error = download(&folder, &[&server]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unwritable);
    assert!(error.to_string().contains("VGG_CACHE"), "{error}");
}

/// The way of addresses with encryption, without it: the same program, the same options.
#[test]
fn curl_brings_a_file_from_any_byte() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("SKIPPED: there is no program curl on this machine");
        return;
    }
    let server = Server::new(good);
    let url = format!("{}things.gz", server.address);
    for start in [0, 250_000] {
        let mut connection = Connection::through_curl(&url, start, Duration::from_secs(5))
            .unwrap_or_else(|_| panic!("it starts"));
        let mut bytes = Vec::new();
        connection.reader.read_to_end(&mut bytes).unwrap();
        assert!(connection.finish().is_ok());
        assert_eq!(bytes, content()[start as usize..]);
    }
    let fails = |behaviour: Behaviour, start: u64| {
        let url = format!("{}things.gz", Server::new(behaviour).address);
        let connection = Connection::through_curl(&url, start, Duration::from_secs(5));
        let mut connection = connection.unwrap_or_else(|_| panic!("it starts"));
        io::copy(&mut connection.reader, &mut io::sink()).unwrap();
        connection.finish().unwrap_err()
    };
    assert!(matches!(fails(empty_handed, 0), Failure::Broken(cause) if cause.contains("404")));
    assert!(matches!(fails(cut, 0), Failure::Broken(_)));
    let whole: Behaviour = |request, stream| good(&Request { start: 0, ..request.clone() }, stream);
    assert!(matches!(fails(whole, 10), Failure::Whole(_)));
}
