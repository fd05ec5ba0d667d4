// Reads its clocks every 20 ms and says `R <realtime ns> M <monotonic ns>`, until SIGTERM; then `BYE`, exit code 0.
//
// M is the middle of two readings around R, close to each other. It counts from the start of the program: Go gives no
// other monotonic clock than a difference.
package main

import (
	"fmt"
	"math"
	"os"
	"os/signal"
	"syscall"
	"time"
	"unsafe"
)

const (
	period = 20 * time.Millisecond
	// Readings of M this close are good enough; else the best of so many tries is taken.
	closeEnough = 20 * time.Microsecond
	tries       = 16
)

func main() {
	start := time.Now()
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	ticker := time.NewTicker(period)
	for {
		realtime, monotonic := readClocks(start)
		// Not through a buffer: the line goes out at once.
		fmt.Printf("R %d M %d\n", realtime, monotonic)
		select {
		case <-terminated:
			fmt.Println("BYE")
			return
		case <-ticker.C:
		}
	}
}

func readClocks(start time.Time) (realtime int64, monotonic int64) {
	narrowest := time.Duration(math.MaxInt64)
	for try := 0; try < tries && narrowest > closeEnough; try++ {
		before := time.Since(start)
		now := readRealtime()
		width := time.Since(start) - before
		if width < narrowest {
			narrowest = width
			realtime, monotonic = now, int64(before+width/2)
		}
	}
	return realtime, monotonic
}

func readRealtime() int64 {
	if len(os.Args) < 2 || os.Args[1] != "raw" {
		return time.Now().UnixNano()
	}
	var now syscall.Timespec
	// CLOCK_REALTIME is 0.
	_, _, failure := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 0, uintptr(unsafe.Pointer(&now)), 0)
	if failure != 0 {
		panic(failure)
	}
	return now.Nano()
}
