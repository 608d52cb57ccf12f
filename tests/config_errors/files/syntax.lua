omnid.hook("dns.query", function(query)
  if query.name == "example.org" then
    return { rcode = "REFUSED" }
end)
