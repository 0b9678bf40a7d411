portal "main" { token = env("SET") }
http {
  tls {
    certificate = "../tls.crt"
    key         = "missing.key"
  }
}
broker {
  url = "mqtt://127.0.0.1:1883"
  tls { ca = "../secret.txt" }
}
