http { listen = "127.0.0.1:8377" }
broker { listen = "localhost:8377" }
portal "main" { token = "pat-na1-canary-canary-canary" }
