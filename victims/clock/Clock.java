import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;

/**
 * Reads its clocks every 20 ms and says {@code R <realtime ns> M <monotonic ns>}, until SIGTERM; then {@code BYE}, exit
 * code 0.
 *
 * <p>M is the middle of two readings around R, close to each other.
 */
public final class Clock {
    private static final long PERIOD_MS = 20;
    /** Readings of M this close are good enough; else the best of so many tries is taken. */
    private static final long CLOSE_NS = 20_000;

    private static final int TRIES = 16;

    private static final FileOutputStream OUT = new FileOutputStream(FileDescriptor.out);

    public static void main(String[] args) throws Exception {
        // A virtual machine ended by a signal has the signal's exit code, unless it is halted with another.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            synchronized (OUT) {
                try {
                    say("BYE");
                } catch (IOException nobodyListens) {
                    Runtime.getRuntime().halt(1);
                }
                Runtime.getRuntime().halt(0);
            }
        }));
        while (true) {
            synchronized (OUT) {
                try {
                    sayReading();
                } catch (IOException nobodyListens) {
                    Runtime.getRuntime().halt(1);
                }
            }
            Thread.sleep(PERIOD_MS);
        }
    }

    private static void sayReading() throws IOException {
        long realtime = 0;
        long monotonic = 0;
        long narrowest = Long.MAX_VALUE;
        for (int attempt = 0; attempt < TRIES && narrowest > CLOSE_NS; attempt++) {
            long before = System.nanoTime();
            Instant now = Instant.now();
            long width = System.nanoTime() - before;
            if (width < narrowest) {
                narrowest = width;
                realtime = now.getEpochSecond() * 1_000_000_000L + now.getNano();
                monotonic = before + width / 2;
            }
        }
        say("R " + realtime + " M " + monotonic);
    }

    private static void say(String line) throws IOException {
        OUT.write((line + "\n").getBytes(StandardCharsets.US_ASCII));
    }
}
