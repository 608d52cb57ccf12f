#![allow(clippy::expect_used)]

use std::{fs, io, os::unix::fs::symlink, time::UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;

use super::*;
use crate::{answer::Failure, body::Body, wire::target::NormalPath};

struct Fixture {
    directory: tempfile::TempDir,
    files: Files,
    cache: FileCache,
}

/// `/a.txt` of ten bytes, `/large.bin` that is not held in memory, `/sub/index.html`, an empty
/// directory, dot files, and links in and out.
fn fixture() -> io::Result<Fixture> {
    let directory = tempfile::tempdir()?;
    let path = directory.path();
    fs::create_dir_all(path.join("sub"))?;
    fs::create_dir_all(path.join("empty dir"))?;
    fs::create_dir_all(path.join(".well-known"))?;
    fs::write(path.join("a.txt"), "0123456789")?;
    fs::write(path.join("empty.txt"), "")?;
    fs::write(path.join("large.bin"), vec![b'x'; 200_000])?;
    fs::write(path.join("sub/index.html"), "<p>sub")?;
    fs::write(path.join(".htpasswd"), "secret")?;
    fs::write(path.join(".well-known/security.txt"), "Contact:")?;
    symlink("/etc/passwd", path.join("out"))?;
    let then = UNIX_EPOCH + std::time::Duration::from_secs(784_111_777);
    fs::File::open(path.join("a.txt"))?.set_modified(then)?;
    Ok(Fixture {
        files: Files {
            index: vec!["index.html".into()],
            ..Files::of(std::sync::Arc::new(Root::open(path, Symlinks::Inside)?))
        },
        directory,
        cache: FileCache::new(CacheLimits::default()),
    })
}

fn request(
    fixture: &Fixture,
    method: &Method,
    target: &str,
    headers: &[(&'static str, &str)],
) -> Response<Body> {
    let headers: HeaderMap = headers
        .iter()
        .filter_map(|(name, value)| {
            Some((
                http::HeaderName::from_static(name),
                HeaderValue::from_str(value).ok()?,
            ))
        })
        .collect();
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    let path = NormalPath::parse(path).expect("a path");
    let request = FileRequest {
        method,
        headers: &headers,
        path: &path,
        query,
        matched: 0,
    };
    let answer = fixture.files.answer(&request, &fixture.cache);
    answer.unwrap_or_else(Failure::into_response)
}

fn get(fixture: &Fixture, target: &str, headers: &[(&'static str, &str)]) -> Response<Body> {
    request(fixture, &Method::GET, target, headers)
}

fn field<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

async fn body(response: Response<Body>) -> Bytes {
    response
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default()
}

#[tokio::test]
async fn statuses() -> io::Result<()> {
    let fixture = fixture()?;
    for (target, status) in [
        ("/a.txt", 200),
        ("/empty.txt", 200),
        ("/sub/", 200),
        ("/sub", 301),
        ("/empty%20dir", 301),
        ("/", 403),
        ("/empty%20dir/", 403),
        ("/none", 404),
        ("/none/", 404),
        ("/a.txt/", 404),
        ("/a.txt/x", 404),
        ("/.htpasswd", 404),
        ("/sub/../.htpasswd", 404),
        ("/.well-known/security.txt", 200),
        ("/sub%2findex.html", 404),
        ("/out", 403),
    ] {
        assert_eq!(get(&fixture, target, &[]).status(), status, "{target}");
    }
    let too_long = format!("/{}", "a".repeat(300));
    assert_eq!(get(&fixture, &too_long, &[]).status(), 404);
    for (method, status) in [
        (Method::POST, 405),
        (Method::DELETE, 405),
        (Method::OPTIONS, 200),
    ] {
        let response = request(&fixture, &method, "/a.txt", &[]);
        assert_eq!(response.status(), status);
        assert_eq!(field(&response, "allow"), Some("GET, HEAD, OPTIONS"));
    }
    Ok(())
}

#[tokio::test]
async fn fields_and_bytes() -> io::Result<()> {
    let fixture = fixture()?;
    let response = get(&fixture, "/a.txt", &[]);
    assert_eq!(field(&response, "content-type"), Some("text/plain"));
    assert_eq!(field(&response, "content-length"), Some("10"));
    assert_eq!(
        field(&response, "last-modified"),
        Some("Sun, 06 Nov 1994 08:49:37 GMT")
    );
    assert_eq!(field(&response, "accept-ranges"), Some("bytes"));
    assert_eq!(body(response).await, "0123456789");

    let response = request(&fixture, &Method::HEAD, "/a.txt", &[("range", "bytes=0-1")]);
    assert_eq!(
        (
            response.status().as_u16(),
            field(&response, "content-length")
        ),
        (200, Some("10"))
    );
    assert!(body(response).await.is_empty());

    let response = get(&fixture, "/large.bin", &[]);
    assert_eq!(field(&response, "content-length"), Some("200000"));
    assert_eq!(body(response).await.len(), 200_000);

    let response = get(&fixture, "/sub?a=b", &[]);
    assert_eq!(field(&response, "location"), Some("/sub/?a=b"));
    let response = get(&fixture, "//sub", &[]);
    assert_eq!(field(&response, "location"), Some("/sub/"));
    Ok(())
}

#[tokio::test]
async fn conditions() -> io::Result<()> {
    let fixture = fixture()?;
    let etag = field(&get(&fixture, "/a.txt", &[]), "etag")
        .unwrap_or_default()
        .to_owned();
    let weak = format!("W/{etag}");
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (fields, status) in [
        (&[("if-none-match", etag.as_str())][..], 304),
        (&[("if-none-match", &weak)], 304),
        (&[("if-none-match", "\"x\"")], 200),
        (&[("if-modified-since", date)], 304),
        (&[("if-match", &etag)], 200),
        (&[("if-match", "\"x\"")], 412),
        (
            &[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT")],
            412,
        ),
        (&[("range", "bytes=0-1"), ("if-range", &etag)], 206),
        (&[("range", "bytes=0-1"), ("if-range", &weak)], 200),
        (&[("range", "bytes=0-1"), ("if-range", date)], 206),
        (&[("range", "bytes=0-1"), ("if-none-match", &etag)], 304),
        (&[("range", "bytes=20-")], 416),
        (&[("range", "bytes=20-"), ("if-range", "\"x\"")], 200),
        (&[("range", "bytes=x")], 200),
    ] {
        let response = get(&fixture, "/a.txt", fields);
        assert_eq!(response.status(), status, "{fields:?}");
        if status == 304 {
            assert_eq!(field(&response, "etag"), Some(etag.as_str()));
            assert_eq!(field(&response, "content-length"), None);
        }
        if status == 416 {
            assert_eq!(field(&response, "content-range"), Some("bytes */10"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn ranges() -> io::Result<()> {
    let fixture = fixture()?;
    for (value, range, expected) in [
        ("bytes=0-3", "bytes 0-3/10", "0123"),
        ("bytes=-3", "bytes 7-9/10", "789"),
        ("bytes=8-", "bytes 8-9/10", "89"),
        ("bytes=0-3,2-5", "bytes 0-5/10", "012345"),
    ] {
        let response = get(&fixture, "/a.txt", &[("range", value)]);
        assert_eq!(response.status(), 206);
        assert_eq!(field(&response, "content-range"), Some(range));
        assert_eq!(
            field(&response, "content-length"),
            Some(expected.len().to_string().as_str())
        );
        assert_eq!(body(response).await, expected);
    }
    Ok(())
}

#[tokio::test]
async fn many_ranges() -> io::Result<()> {
    let fixture = fixture()?;
    for (target, kind, size, first) in [
        ("/a.txt", "text/plain", 10, "0"),
        ("/large.bin", "application/octet-stream", 200_000, "x"),
    ] {
        let response = get(&fixture, target, &[("range", "bytes=0-0,-1")]);
        assert_eq!(response.status(), 206);
        assert_eq!(field(&response, "content-range"), None);
        let content_type = field(&response, "content-type")
            .unwrap_or_default()
            .to_owned();
        let boundary = content_type
            .strip_prefix("multipart/byteranges; boundary=")
            .unwrap_or_default()
            .to_owned();
        let length: usize = field(&response, "content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        let last = size - 1;
        let end = if target == "/a.txt" { "9" } else { "x" };
        let expected = format!(
            "--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes 0-0/{size}\r\n\r\n{first}\
             \r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {last}-{last}/{size}\r\n\r\n{end}\
             \r\n--{boundary}--\r\n"
        );
        let body = body(response).await;
        assert_eq!(body, expected);
        assert_eq!(body.len(), length);
    }
    Ok(())
}

#[tokio::test]
async fn fallback_and_pages() -> io::Result<()> {
    let mut fixture = fixture()?;
    fixture.files.fallback = Some("/sub/index.html".into());
    let response = get(&fixture, "/any/path", &[]);
    assert_eq!(
        (response.status().as_u16(), field(&response, "content-type")),
        (200, Some("text/html"))
    );
    assert_eq!(body(response).await, "<p>sub");
    let page = fixture
        .files
        .page("/a.txt", StatusCode::NOT_FOUND, &fixture.cache);
    assert_eq!(page.map(|page| page.status()), Some(StatusCode::NOT_FOUND));
    assert!(
        fixture
            .files
            .page("/none", StatusCode::NOT_FOUND, &fixture.cache)
            .is_none()
    );
    fixture.files.charset = Some("utf-8".into());
    assert_eq!(
        field(&get(&fixture, "/a.txt", &[]), "content-type"),
        Some("text/plain; charset=utf-8")
    );
    drop(fixture.directory);
    Ok(())
}
