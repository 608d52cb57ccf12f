-- What omnid's XMPP does, and no more.
run_as_root = true
daemonize = false
pidfile = "DIRECTORY/prosody.pid"
data_path = "DIRECTORY/prosody"
log = { warn = "DIRECTORY/prosody.log" }
interfaces = { "127.0.0.1" }
c2s_ports = { }
c2s_direct_tls_ports = { PORT }
s2s_ports = { }
http_ports = { }
https_ports = { }
authentication = "internal_hashed"
password_hash = "SHA-256"
storage = "internal"
modules_enabled = {
  "saslauth", "tls", "roster", "disco", "ping", "private", "time", "uptime", "lastactivity", "vcard_legacy",
  "version", "smacks",
}
modules_disabled = { "s2s" }
ssl = { certificate = "DIRECTORY/cert.pem", key = "DIRECTORY/key.pem" }
c2s_direct_tls_ssl = { certificate = "DIRECTORY/cert.pem", key = "DIRECTORY/key.pem" }
VirtualHost "bench.test"
