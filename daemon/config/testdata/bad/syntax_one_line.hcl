broker { listen = "127.0.0.1:1883", prefix = "x" }
