portal "literal" {
  token = canary-canary
}
portal "number" {
  token = 12
}
portal "heredoc" {
  token = <<EOT
canary
second
EOT
}
portal "variable" {
  token = env("pat-na1-canary")
}
portal "file" {
  token = file("no-such-file")
}
portal "both" {
  token = "canary"
  oauth {
    client_id     = "canary"
    client_secret = file("empty.txt")
  }
}
portal "none" { /* canary */ }
portal "pat-na1-canary" { token = "x" }
portal "call" { token = vault("canary") }
portal "unset" { token = env("NOT_SET") }
portal "two" {
  oauth {
    client_id     = env("NOT_SET")
    client_secret = env("NOT_SET_EITHER")
    refresh_token = "canary"
  }
}
