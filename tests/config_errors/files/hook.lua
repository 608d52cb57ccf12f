omnid.hook("dns.querry", function(query)
  return nil
end)
