//! Where trunks' servers are: their names looked up, again and again, and the way to each.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use omnid_hub::RecordData;
use omnid_supervisor::{Child, ChildResult};
use omnid_telemetry::limited;

use super::core::Core;
use crate::{
    engine::Flow,
    trunk::{Server, Trunk},
    wire::Transport,
};

/// How often names are looked up: a provider that moves announces it by short times to live.
const LOOK: Duration = Duration::from_secs(60);
/// How soon again where nothing was found.
const SOON: Duration = Duration::from_secs(5);
/// Addresses of one trunk.
const SERVERS: usize = 16;

/// Keeps trunks' addresses current.
pub(crate) async fn run_trunks(core: Arc<Core>, child: Child) -> ChildResult {
    child.ready();
    loop {
        let all_found = find_servers(&core).await;
        let wait = if all_found { LOOK } else { SOON };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = core.trunks_changed.notified() => {}
            () = child.draining() => return Ok(()),
        }
    }
}

/// Finds all servers of all trunks; false where one has none.
async fn find_servers(core: &Core) -> bool {
    let settings = core.settings();
    let mut all_found = true;
    for trunk in &settings.trunks {
        let mut flows: Vec<Flow> = Vec::new();
        for server in &trunk.servers {
            for remote in addresses(core, trunk, server).await {
                if flows.len() < SERVERS
                    && !flows.iter().any(|flow| flow.remote == remote)
                    && let Some(flow) = way(trunk.transport, remote, &settings.ports).await
                {
                    flows.push(flow);
                }
            }
        }
        if flows.is_empty() {
            all_found = false;
            limited!(
                Duration::from_secs(60),
                warn,
                "a trunk's servers are not found",
                trunk = trunk.name
            );
            continue;
        }
        core.shared.trunks.set_servers(&trunk.name, flows);
    }
    all_found
}

/// The addresses of a server (RFC 3263 4.2): its own, or those of its SRV, or those of its name.
async fn addresses(core: &Core, trunk: &Trunk, server: &Server) -> Vec<SocketAddr> {
    if let Some(address) = server.address(trunk.transport) {
        return vec![address];
    }
    let usual = trunk.transport.default_port();
    let Some(port) = server.port else {
        let label = match trunk.transport {
            Transport::Udp => "_sip._udp",
            Transport::Tcp => "_sip._tcp",
            Transport::Tls => "_sips._tcp",
        };
        let name = format!("{label}.{}", server.host);
        let resolver = core.ground.hub.resolver();
        let found = resolver.resolve(&name, "SRV").await;
        let mut targets: Vec<(u16, u16, String, u16)> = Vec::new();
        for record in found.map(|found| found.records).unwrap_or_default() {
            if let RecordData::Srv {
                priority,
                weight,
                port,
                target,
            } = record
            {
                targets.push((priority, u16::MAX - weight, target, port));
            }
        }
        // The heaviest of the same priority first: all calls of an office are no load to share.
        targets.sort();
        let mut all = Vec::new();
        for (_, _, target, port) in targets.into_iter().take(SERVERS) {
            all.extend(of_name(core, &target, port).await);
        }
        if !all.is_empty() {
            return all;
        }
        return of_name(core, &server.host, usual).await;
    };
    of_name(core, &server.host, port).await
}

async fn of_name(core: &Core, name: &str, port: u16) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for kind in ["A", "AAAA"] {
        let found = core.ground.hub.resolver().resolve(name, kind).await;
        for record in found.map(|found| found.records).unwrap_or_default() {
            if let RecordData::Address { address } = record {
                all.push((address, port).into());
            }
        }
    }
    if all.is_empty()
        && let Ok(found) = tokio::net::lookup_host((name, port)).await
    {
        all.extend(found.take(SERVERS));
    }
    all
}

/// The way to an address: from the port we are listened to at, on the address that leads there.
async fn way(transport: Transport, remote: SocketAddr, ports: &[(Transport, u16)]) -> Option<Flow> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Nothing is sent: the kernel only says which of our addresses it would take.
    let probe = tokio::net::UdpSocket::bind((any, 0)).await.ok()?;
    probe.connect(remote).await.ok()?;
    let ip = probe.local_addr().ok()?.ip();
    let port = ports.iter().find(|(known, _)| *known == transport);
    let port = port.map_or_else(|| transport.default_port(), |(_, port)| *port);
    Some(Flow {
        transport,
        local: (ip, port).into(),
        remote,
        connection: 0,
    })
}
