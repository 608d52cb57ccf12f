use super::*;

#[tokio::test]
async fn a_hook_decides_or_goes_on() {
    let stage = Stage::new(
        "omnid.hook('dns.query', function(query)
            if query.name == 'first.' then return {rcode = 'REFUSED'} end
         end)
         omnid.hook('dns.query', function(query)
            if query.name == 'first.' then error('not reached') end
            if query.name == 'second.' then
                return {answer = {{type = 'A', ttl = 60, data = '192.0.2.1'}, {type = query.type}}}
            end
            if query.name == 'bad.' then return print end
         end)",
    )
    .await;
    assert!(stage.scripts.hooked(Hook::DnsQuery));
    assert!(!stage.scripts.hooked(Hook::SipRequest));
    for (name, expected) in [
        ("first.", Some(json!({"rcode": "REFUSED"}))),
        (
            "second.",
            Some(
                json!({"answer": [{"type": "A", "ttl": 60, "data": "192.0.2.1"}, {"type": "AAAA"}]}),
            ),
        ),
        ("other.", None),
        ("bad.", None),
    ] {
        let query = json!({"name": name, "type": "AAAA", "none": null});
        assert_eq!(stage.ask(query).await, Ok(expected), "{name}");
    }
    assert_eq!(
        stage.scripts.call(Hook::SipRequest, json!({})).await,
        Ok(None)
    );
}

#[tokio::test]
async fn errors_deny_where_they_are_told_to() {
    let script = "omnid.hook('dns.query', function(query)
        local t = nil
        return t.x
    end)";
    let stage = Stage::with(
        script,
        ScriptConfig {
            on_error: OnError::Deny,
            ..Default::default()
        },
    )
    .await;
    let error = stage
        .ask(json!({}))
        .await
        .expect_err("it fails")
        .to_string();
    assert!(
        error.contains("script.lua:3: attempt to index nil with 'x'"),
        "{error}"
    );
    assert!(error.contains("stack traceback"), "{error}");
    stage.play(script, ScriptConfig::default());
    assert_eq!(stage.ask(json!({})).await, Ok(None));
}

#[tokio::test]
async fn the_store_keeps_values_for_all_states() {
    let stage = Stage::new(
        "omnid.hook('dns.query', function(query)
            if query.set then
                omnid.store.set('key', query.value)
                return {}
            end
            return {value = omnid.store.get('key')}
        end)",
    )
    .await;
    assert_eq!(stage.ask(json!({})).await, Ok(Some(json!({}))));
    for value in [
        json!(1.5),
        json!("text"),
        json!({"list": [1, 2], "x": true}),
    ] {
        stage
            .ask(json!({"set": true, "value": value}))
            .await
            .expect("it is kept");
        assert_eq!(
            stage.ask(json!({})).await,
            Ok(Some(json!({"value": value})))
        );
    }
    stage
        .ask(json!({"set": true}))
        .await
        .expect("it is forgotten");
    assert_eq!(stage.ask(json!({})).await, Ok(Some(json!({}))));
}

#[tokio::test]
async fn misuse_is_an_error_that_says_so() {
    let stage = Stage::with(
        "local tries = {
            key = function() omnid.store.get('') end,
            value = function() omnid.store.set('key', print) end,
            large = function() omnid.store.set('key', string.rep('x', 70000)) end,
            level = function() omnid.log('wran', 'hm') end,
            hook = function() omnid.hook('dns.query', print) end,
            on = function() omnid.on('x', print) end,
            after = function() omnid.after(-1, print) end,
            topic = function() omnid.emit('', {}) end,
            coroutine = function() coroutine.wrap(function() omnid.store.get('key') end)() end,
            yield = function() coroutine.yield(1) end,
            url = function() omnid.fetch('ftp://example.org/') end,
            option = function() omnid.fetch('http://example.org/', {verb = 'GET'}) end,
            header = function() omnid.fetch('http://example.org/', {headers = {['content-length'] = '1'}}) end,
            split = function() omnid.fetch('http://example.org/', {headers = {a = 'b\\r\\nc: d'}}) end,
        }
        omnid.hook('dns.query', function(query) tries[query.name]() end)",
        ScriptConfig { on_error: OnError::Deny, ..Default::default() },
    )
    .await;
    for (name, expected) in [
        ("key", "omnid.store: a key has 1 to 256 bytes"),
        ("value", "omnid.store.set: a function cannot be passed on"),
        ("large", "omnid.store.set: a value has at most 65536 bytes"),
        (
            "level",
            "there is no level \"wran\": did you mean \"warn\"?",
        ),
        ("hook", "omnid.hook is for the script's top level"),
        ("on", "omnid.on is for the script's top level"),
        ("after", "a wait is between 0 seconds and 7 days"),
        ("topic", "a topic has 1 to 256 bytes"),
        (
            "coroutine",
            "omnid.store.get cannot wait within a coroutine",
        ),
        ("yield", "must not yield out of its own coroutine"),
        ("url", "\"ftp://example.org/\" is not an http or https URL"),
        (
            "option",
            "there is no option \"verb\", but method, headers, body and timeout",
        ),
        ("header", "content-length is not the script's to set"),
        ("split", "the value of a is malformed"),
    ] {
        let error = stage
            .ask(json!({"name": name}))
            .await
            .expect_err(name)
            .to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[tokio::test]
async fn events_come_in_and_go_out_once() {
    let stage = Stage::new(
        "omnid.on('login', function(event)
            omnid.emit('seen', {topic = event.topic, account = event.account, source = event.source})
        end)
        omnid.on('call.*', function(event) omnid.emit('seen', {topic = event.topic}) end)
        omnid.on('mine', function(event) omnid.emit('seen', event.data) end)",
    )
    .await;
    let mut events = stage.hub.events().subscribe();
    settled(&stage, &mut events).await;
    stage.hub.events().publish(Event::Login {
        account: "alice@example.org".to_owned(),
        source: "192.0.2.1".parse().expect("an address"),
        service: "sip",
    });
    let login = json!({"topic": "login", "account": "alice@example.org", "source": "192.0.2.1"});
    assert_eq!(heard(&mut events, "seen").await, login);
    stage.hub.events().publish(Event::CallAnswered {
        call: "1".to_owned(),
    });
    assert_eq!(
        heard(&mut events, "seen").await,
        json!({"topic": "call.answered"})
    );
    stage.hub.events().publish(Event::Custom {
        topic: "mine".to_owned(),
        data: json!({"a": [1]}),
    });
    assert_eq!(heard(&mut events, "seen").await, json!({"a": [1]}));
}

/// Waits until the scripts listen: asks until they answer.
pub(super) async fn settled(stage: &Stage, events: &mut Subscription) {
    for round in 0.. {
        stage.hub.events().publish(Event::Custom {
            topic: "mine".to_owned(),
            data: json!({"round": round}),
        });
        let answer = tokio::time::timeout(Duration::from_millis(50), heard(events, "seen")).await;
        if answer.is_ok_and(|answer| answer == json!({"round": round})) {
            return;
        }
    }
}

#[tokio::test]
async fn later_happens_once_for_the_top_level_and_each_time_for_a_call() {
    let stage = Stage::new("").await;
    let mut events = stage.hub.events().subscribe();
    stage.play(
        "omnid.after(0, function()
            omnid.store.set('count', (omnid.store.get('count') or 0) + 1)
            omnid.emit('top', {count = omnid.store.get('count')})
        end)
        omnid.hook('dns.query', function(query)
            omnid.after(0.01, function() omnid.emit('later', {name = query.name}) end)
        end)",
        ScriptConfig::default(),
    );
    assert_eq!(heard(&mut events, "top").await, json!({"count": 1}));
    for name in ["a.", "b."] {
        assert_eq!(stage.ask(json!({"name": name})).await, Ok(None));
        assert_eq!(heard(&mut events, "later").await, json!({"name": name}));
    }
}

#[tokio::test]
async fn replaced_scripts_finish_their_calls_and_drop_what_waits() {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let stage = Stage::new(&format!(
        "omnid.hook('dns.query', function()
            omnid.after(0.3, function() omnid.emit('old', {{}}) end)
            local response = omnid.fetch('http://127.0.0.1:{port}/')
            return {{rcode = response.body}}
        end)"
    ))
    .await;
    let mut events = stage.hub.events().subscribe();
    let asking = tokio::spawn({
        let scripts = stage.scripts.clone();
        async move { scripts.call(Hook::DnsQuery, json!({})).await }
    });
    let (mut socket, _) = server.accept().await.unwrap();
    stage.play(
        "omnid.hook('sip.request', function() return {status = 403} end)
         omnid.after(0.6, function() omnid.emit('new', {}) end)",
        ScriptConfig::default(),
    );
    assert!(!stage.scripts.hooked(Hook::DnsQuery));
    let decision = stage.scripts.call(Hook::SipRequest, json!({})).await;
    assert_eq!(decision, Ok(Some(json!({"status": 403}))));
    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nNXDOMAIN";
    tokio::io::AsyncWriteExt::write_all(&mut socket, response)
        .await
        .unwrap();
    assert_eq!(
        asking.await.unwrap(),
        Ok(Some(json!({"rcode": "NXDOMAIN"})))
    );
    loop {
        let published = events.next().await.expect("the hub is there");
        match published.event.topic() {
            "old" => panic!("what waited was to be dropped"),
            "new" => break,
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_same_scripts_go_on_over_a_reload() {
    let script = "local count = 0
        omnid.hook('dns.query', function() count += 1 return {count = count} end)";
    let stage = Stage::new(script).await;
    for (reloaded, expected) in [(script, 1), (script, 2), ("-- other\n", 0), (script, 1)] {
        stage.play(reloaded, ScriptConfig::default());
        let expected = (expected > 0).then(|| json!({"count": expected}));
        assert_eq!(stage.ask(json!({})).await, Ok(expected));
    }
    stage.play(
        script,
        ScriptConfig {
            max_calls: 7,
            ..ScriptConfig::default()
        },
    );
    assert_eq!(stage.ask(json!({})).await, Ok(Some(json!({"count": 1}))));
}

#[tokio::test]
async fn the_replaced_library_functions_do_as_luaus() {
    let stage = Stage::with(
        "omnid.hook('dns.query', function()
            local function same(got, ...)
                local wanted = table.pack(...)
                for i = 1, math.max(got.n, wanted.n) do
                    if got[i] ~= wanted[i] then
                        error(('%s instead of %s'):format(tostring(got[i]), tostring(wanted[i])), 2)
                    end
                end
            end
            local p = table.pack
            same(p(('hello'):find('l')), 3, 3)
            same(p(('hello'):find('l', 4)), 4, 4)
            same(p(('hello'):find('l', -2)), 4, 4)
            same(p(('hello'):find('l', -100)), 3, 3)
            same(p(('hello'):find('h', 2)), nil)
            same(p(('hello'):find('')), 1, 0)
            same(p(('hello'):find('', 6)), 6, 5)
            same(p(('hello'):find('', 7)), nil)
            same(p(('hello'):find('', 0)), 1, 0)
            same(p((''):find('')), 1, 0)
            same(p(('a.b'):find('.')), 1, 1)
            same(p(('a.b'):find('.', 1, true)), 2, 2)
            same(p(('a.b'):find('%.')), 2, 2)
            same(p(('key=1'):find('(%w+)=(%d)')), 1, 5, 'key', '1')
            same(p(table.unpack(('a,b,,c'):split())), 'a', 'b', '', 'c')
            same(p(table.unpack(('a--b'):split('--'))), 'a', 'b')
            same(p(table.unpack(('abc'):split(''))), 'a', 'b', 'c')
            same(p(table.unpack((''):split(','))), '')
            local t = {3, 1, 2}
            table.sort(t)
            same(p(table.unpack(t)), 1, 2, 3)
            table.sort(t, function(a, b) return a > b end)
            same(p(table.unpack(t)), 3, 2, 1)
            same(p(table.unpack(table.move({1, 2, 3}, 2, 3, 1))), 2, 3, 3)
            same(p(table.unpack(table.move({1, 2}, 1, 2, 2, {9}))), 9, 1, 2)
            same(p(pcall(omnid.store.get, 'nothing')), true, nil)
            return {}
        end)",
        ScriptConfig {
            on_error: OnError::Deny,
            ..Default::default()
        },
    )
    .await;
    assert_eq!(stage.ask(json!({})).await, Ok(Some(json!({}))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_ask_at_once() {
    let stage = Stage::new(
        "omnid.hook('dns.query', function(query)
            omnid.store.set('key ' .. query.number % 7, query.number)
            for i = 1, 1000 do end
            return {number = query.number}
        end)",
    )
    .await;
    let asking = (0..400).map(|number| {
        let scripts = stage.scripts.clone();
        tokio::spawn(async move {
            (
                number,
                scripts
                    .call(Hook::DnsQuery, json!({"number": number}))
                    .await,
            )
        })
    });
    for asked in asking.collect::<Vec<_>>() {
        let (number, decision) = asked.await.unwrap();
        assert_eq!(decision, Ok(Some(json!({"number": number}))));
    }
}
