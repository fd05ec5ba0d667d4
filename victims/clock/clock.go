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
		now := time.Now()
		width := time.Since(start) - before
		if width < narrowest {
			narrowest = width
			realtime, monotonic = now.UnixNano(), int64(before+width/2)
		}
	}
	return realtime, monotonic
}
