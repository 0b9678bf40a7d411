defaults {
  exclude = ["a" "b"]
}
