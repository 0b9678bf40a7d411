http { listen = ":8377" }
broker {
  listen = "192.168.1.5:1883"
  url    = "mqtt://broker.example:1883"
}
