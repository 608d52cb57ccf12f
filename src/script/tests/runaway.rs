//! Scripts gone wrong are stopped, each in bounded time and memory, and those after them served.

use std::time::Instant;

use super::*;

/// With a hook that does what it is told to by name.
const RUNAWAYS: &[(&str, &str)] = &[
    ("loop", "while true do end"),
    (
        "loop in pcall",
        "while true do pcall(function() while true do end end) end",
    ),
    (
        "loop in xpcall's handler",
        "xpcall(error, function() while true do end end)",
    ),
    (
        "recursion through pcall",
        "local function f() while true do pcall(f) end end f()",
    ),
    (
        "loop in a coroutine",
        "coroutine.wrap(function() while true do end end)()",
    ),
    (
        "loops in coroutines without end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    ),
    (
        "yields without end",
        "local c = coroutine.wrap(function() while true do coroutine.yield() end end) while true do c() end",
    ),
    (
        "catastrophic pattern",
        "return string.find(string.rep('a', 300000), '.-.-.-.-.-b')",
    ),
    (
        "catastrophic gsub",
        "return string.gsub(string.rep('a', 1000000), '(.-)(.-)b', '%1')",
    ),
    (
        "catastrophic gmatch",
        "for _ in string.gmatch(string.rep('a', 1000000), '.-b') do end",
    ),
    (
        "long plain find",
        "return (string.rep('a', 8000000)):find(string.rep('a', 4000000) .. 'b', 1, true)",
    ),
    (
        "long find without specials",
        "return string.find(string.rep('a', 8000000), string.rep('a', 4000000) .. 'b')",
    ),
    (
        "long split",
        "return #string.split(string.rep('a', 4000000), string.rep('a', 2000000) .. 'b')",
    ),
    (
        "sort of long texts",
        "local a, b = string.rep('a', 4000000) .. 'x', string.rep('a', 4000000) .. 'y'
         local t = table.create(200000, a)
         for i = 1, #t, 2 do t[i] = b end
         table.sort(t)",
    ),
    (
        "sort that never agrees",
        "local t = table.create(100000, 1) table.sort(t, function() return true end)",
    ),
    ("huge move", "table.move({}, 1, 2e9, 2)"),
    (
        "metamethod without end",
        "return tostring(setmetatable({}, {__tostring = function() while true do end end}))",
    ),
    (
        "recursion",
        "local function f() return 1 + f() end return f()",
    ),
    (
        "texts that double",
        "local s = 'x' while true do s = s .. s end",
    ),
    ("a huge text", "return string.rep('x', 1000000000)"),
    ("a huge table", "return table.create(100000000, 0)"),
    ("a huge buffer", "return buffer.create(1000000000)"),
    (
        "a table that grows",
        "local t = {} while true do t[#t + 1] = {} end",
    ),
    (
        "a table that grows in pcall",
        "local t = {} while true do pcall(function() while true do t[#t + 1] = {} end end) end",
    ),
    (
        "closures that pile up",
        "local f = print while true do local g = f f = function() return g end end",
    ),
    (
        "goes on after the error",
        "pcall(function() while true do end end) return {rcode = 'NXDOMAIN'}",
    ),
];

fn script() -> String {
    let mut script = "local deeds = {}\n".to_owned();
    for (name, code) in RUNAWAYS {
        script.push_str(&format!("deeds[\"{name}\"] = function() {code} end\n"));
    }
    script.push_str(
        "omnid.hook('dns.query', function(query)
            if query.deed then return deeds[query.deed]() end
            return {rcode = 'REFUSED'}
        end)\n",
    );
    script
}

#[tokio::test]
async fn each_is_stopped_and_the_next_call_served() {
    let config = ScriptConfig {
        on_error: OnError::Deny,
        ..ScriptConfig::default()
    };
    let stage = Stage::with(&script(), config).await;
    for (name, _) in RUNAWAYS {
        let begin = Instant::now();
        let outcome = stage.ask(json!({"deed": name})).await;
        let took = begin.elapsed();
        println!("{name}: {took:?} {}", first_line(&outcome));
        // Of 50 ms; the rest is for a busy machine. Some are no runaways any more.
        assert!(took < Duration::from_secs(5), "{name} took {took:?}");
        let harmless = [
            "long plain find",
            "long find without specials",
            "long split",
            "sort that never agrees",
        ];
        assert!(
            outcome.is_err() || harmless.contains(name),
            "{name}: {outcome:?}"
        );
        let next = stage.ask(json!({})).await;
        assert_eq!(next, Ok(Some(json!({"rcode": "REFUSED"}))), "after {name}");
    }
}

fn first_line(outcome: &Result<Option<Value>, ScriptError>) -> String {
    let text = match outcome {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.to_string(),
    };
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(100)
        .collect()
}

#[tokio::test]
async fn an_overrun_counts_as_no_decision_unless_told_otherwise() {
    let stage = Stage::new(&script()).await;
    assert_eq!(stage.ask(json!({"deed": "loop"})).await, Ok(None));
    assert_eq!(
        stage.ask(json!({"deed": "goes on after the error"})).await,
        Ok(None)
    );
}

#[tokio::test]
async fn a_runaway_holds_up_nobody_elses_script() {
    // One state answers, one works in the background: a loop in one does not stop the other.
    let stage = Stage::new(
        "omnid.hook('dns.query', function() while true do end end)
         omnid.on('ping', function() omnid.emit('pong', {}) end)
         omnid.on('mine', function(event) omnid.emit('seen', event.data) end)",
    )
    .await;
    let mut events = stage.hub.events().subscribe();
    verbs::settled(&stage, &mut events).await;
    let (looping, ()) = tokio::join!(stage.ask(json!({})), async {
        stage.hub.events().publish(Event::Custom {
            topic: "ping".to_owned(),
            data: json!({}),
        });
        heard(&mut events, "pong").await;
    });
    assert_eq!(looping, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_filled_their_memory_begin_anew() {
    let config = ScriptConfig {
        on_error: OnError::Deny,
        ..ScriptConfig::default()
    };
    let stage = Stage::with(
        "local kept = {}
         omnid.hook('dns.query', function(query)
            if query.fill then while true do kept[#kept + 1] = {} end end
            return {answer = {string.rep('x', 1000)}}
        end)",
        ScriptConfig {
            time_limit: Duration::from_secs(10),
            ..config
        },
    )
    .await;
    for _ in 0..3 {
        let full = stage.ask(json!({"fill": true})).await;
        assert!(full.is_err_and(|error| error.to_string().contains("memory")));
        let begin = Instant::now();
        while stage.ask(json!({})).await.is_err() {
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "it does not recover"
            );
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn garbage_is_collected_before_memory_runs_out() {
    let config = ScriptConfig {
        on_error: OnError::Deny,
        ..ScriptConfig::default()
    };
    let stage = Stage::with(
        "omnid.hook('dns.query', function(query)
            local s = string.rep(query.letter, 3000000)
            return {rcode = s:sub(1, 1)}
        end)",
        config,
    )
    .await;
    for round in 0..200 {
        let letter = format!("{}", char::from(b'a' + round % 26));
        let decision = stage.ask(json!({"letter": letter.clone()})).await;
        assert_eq!(
            decision,
            Ok(Some(json!({"rcode": letter}))),
            "round {round}"
        );
    }
}

#[tokio::test]
async fn calls_are_bounded_in_number_and_waiting_time() {
    let config = ScriptConfig {
        on_error: OnError::Deny,
        max_calls: 2,
        wait_limit: Duration::from_millis(200),
        ..ScriptConfig::default()
    };
    // A server that takes connections and never answers.
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let script = format!(
        "omnid.hook('dns.query', function() omnid.fetch('http://127.0.0.1:{port}/') return {{}} end)"
    );
    let stage = Stage::with(&script, config).await;
    let begin = Instant::now();
    let calls = [
        stage.ask(json!({})),
        stage.ask(json!({})),
        stage.ask(json!({})),
    ];
    let [one, two, three] = calls;
    let (one, two, three) = tokio::join!(one, two, three);
    let errors = [one, two, three].map(|outcome| outcome.expect_err("none can decide").to_string());
    assert!(
        errors[0].contains("out of time for what it waits for"),
        "{errors:?}"
    );
    assert!(
        errors[1].contains("out of time for what it waits for"),
        "{errors:?}"
    );
    assert!(errors[2].contains("too many calls"), "{errors:?}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn events_that_answer_each_other_are_braked() {
    let stage = Stage::new(
        "omnid.on('loop', function() omnid.emit('loop', {}) omnid.emit('loop', {}) end)
         omnid.hook('dns.query', function() return {rcode = 'NOERROR'} end)",
    )
    .await;
    stage.hub.events().publish(Event::Custom {
        topic: "loop".to_owned(),
        data: json!({}),
    });
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(
            stage.ask(json!({})).await,
            Ok(Some(json!({"rcode": "NOERROR"})))
        );
    }
}
