portal "main" { token = env("SET") }
http {
  listen = "0.0.0.0:8377"
  hosts  = ["https://hubpipe.example"]
  tls {
    certificate = "../tls.crt"
  }
}
broker {
  listen = ":8883"
  tls {
    certificate = "../full.hcl"
    key         = "../tls.key"
    authority   = "../tls.crt"
  }
}
user "ann" {
  role        = "reader"
  certificate = "Ann"
}
user "bob" {
  role        = "reader"
  certificate = "Ann"
}
