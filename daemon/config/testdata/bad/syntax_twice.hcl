defaults {
  tail = "1m"
  tail = "2m"
}
