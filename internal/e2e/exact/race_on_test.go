//go:build race

package exact

// slowly says that everything takes several times as long: bounds of time are
// wider, and there is less to do, see ordinarily.
const slowly = true
