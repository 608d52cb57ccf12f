use super::*;

/// What `omnid check` prints about a script.
fn check(script: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script.lua");
    std::fs::write(&path, script).unwrap();
    let config = ScriptConfig {
        files: files([path]),
        ..ScriptConfig::default()
    };
    let mut sources = Sources::new();
    let report = match Scripts::load(&config, &mut sources) {
        Ok(prepared) => sources.render(prepared.warnings(), false),
        Err(problems) => sources.render(&problems, false),
    };
    report.replace(&directory.path().display().to_string(), "DIR")
}

#[test]
fn faults_are_shown_where_they_are() {
    for (script, expected) in [
        (
            "local a = 1\n  local b = = 2\n",
            "error: Lua: Expected identifier when parsing expression, got '='
 --> DIR/script.lua:2:3
  |
2 |   local b = = 2
  |   ^^^^^^^^^^^^^
",
        ),
        (
            "\nomnid.hook('dns.qury', function() end)\n",
            "error: Lua: there is no hook \"dns.qury\": did you mean \"dns.query\"?
 --> DIR/script.lua:2:1
  |
2 | omnid.hook('dns.qury', function() end)
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
",
        ),
        (
            "local function f()\n  error('no luck')\nend\nf()\n",
            "error: Lua: no luck
 --> DIR/script.lua:2:3
  |
2 |   error('no luck')
  |   ^^^^^^^^^^^^^^^^
",
        ),
        (
            "omnid.fetch('http://example.org/')\n",
            "error: Lua: omnid.fetch cannot be used while the script is loaded: use omnid.after
 --> DIR/script.lua:1:1
  |
1 | omnid.fetch('http://example.org/')
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
",
        ),
        (
            "coroutine.yield()\n",
            "error: Lua: a call must not yield out of its own coroutine
 |
 = help: in DIR/script.lua
",
        ),
        ("omnid.hook('dns.query', function() end)\n", ""),
    ] {
        assert_eq!(check(script), expected, "{script}");
    }
}

#[test]
fn a_script_that_does_not_end_is_found_out() {
    let report = check("while true do end\n");
    assert!(report.contains("out of processor time"), "{report}");
    assert!(report.contains("\n1 | while true do end"), "{report}");
}

#[test]
fn nothing_leads_out_of_the_sandbox() {
    for name in [
        "require",
        "loadstring",
        "load",
        "dofile",
        "loadfile",
        "io",
        "package",
        "os.execute",
        "os.getenv",
        "os.remove",
    ] {
        assert_eq!(check(&format!("assert({name} == nil)\n")), "", "{name}");
    }
    for code in [
        "string.find = nil",
        "table.sort = nil",
        "omnid.log = nil",
        "omnid.store.get = nil",
        "getmetatable('').__index = nil",
        "rawset(string, 'find', nil)",
        "rawset(omnid, 'log', nil)",
    ] {
        let report = check(&format!("{code}\n"));
        assert!(report.contains("error: Lua: "), "{code}: {report}");
    }
    let report = check("collectgarbage('stop')\n");
    assert!(report.contains("invalid option"), "{report}");
}

#[test]
fn files_are_found_by_pattern_and_missing_ones_reported() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("b.lua", "order = order .. 'b'"),
        ("a.lua", "order = 'a'"),
        ("c.txt", "="),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    std::fs::write(
        directory.path().join("z.lua"),
        "assert(order == 'ab', order)",
    )
    .unwrap();
    let load = |pattern: &str| {
        let path = directory.path().join(pattern);
        let config = ScriptConfig {
            files: files([path]),
            ..ScriptConfig::default()
        };
        let mut sources = Sources::new();
        Scripts::load(&config, &mut sources).map(|prepared| prepared.warnings().len())
    };
    assert_eq!(load("*.lua"), Ok(0));
    assert_eq!(load("*.luau"), Ok(1), "a warning: no file fits");
    let missing = load("missing.lua").map_err(|problems: Problems| problems.len());
    assert_eq!(missing, Err(1));
}

#[test]
fn destinations_are_checked() {
    let fetch = |allow: &str| {
        let allow = vec![Spanned::from(allow.to_owned())];
        let config = ScriptConfig {
            fetch: FetchConfig {
                allow,
                ..FetchConfig::default()
            },
            ..ScriptConfig::default()
        };
        Scripts::load(&config, &mut Sources::new()).is_ok()
    };
    for good in [
        "example.org",
        "*.example.org",
        "192.0.2.1",
        "192.0.2.0/24",
        "2001:db8::/32",
        "::1",
    ] {
        assert!(fetch(good), "{good}");
    }
    for bad in [
        "",
        "*",
        "http://example.org",
        "example.org:80",
        "a..b",
        "*.*.org",
    ] {
        assert!(!fetch(bad), "{bad}");
    }
}
