import com.sun.net.httpserver.HttpServer;
import com.turn.ttorrent.client.Client;
import com.turn.ttorrent.client.SharedTorrent;
import com.turn.ttorrent.common.Torrent;
import com.turn.ttorrent.tracker.TrackedTorrent;
import com.turn.ttorrent.tracker.Tracker;
import java.io.File;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Random;

/**
 * Files over BitTorrent, by TTorrent: a tracker with somebody who has a file, and a client that fetches it again and again.
 *
 * <p>{@code FetchLoop serve FOLDER PORT BYTES} writes the file, its hash and its torrent, tracks at the port and has it.
 * {@code FetchLoop fetch TORRENT FOLDER PORT} fetches it, and answers at the port over HTTP.
 */
public class FetchLoop {
    /** How many are fetched at a time, and how long ago the last one may be: each takes about 3 s. */
    static final int LOOPS = 4;
    static final int LATELY_MS = 6_000;
    static final InetAddress HERE = InetAddress.getLoopbackAddress();

    public static void main(String[] words) throws Exception {
        switch (words[0]) {
            case "serve" -> serve(Path.of(words[1]), Integer.parseInt(words[2]), Integer.parseInt(words[3]));
            case "fetch" -> fetch(Path.of(words[1]), Path.of(words[2]), Integer.parseInt(words[3]));
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    /** Tracks and has a file of so many bytes, of which it writes the torrent and the hash. */
    static void serve(Path directory, int port, int length) throws Exception {
        byte[] bytes = new byte[length];
        new Random(5).nextBytes(bytes);
        Path file = directory.resolve("data");
        Files.write(file, bytes);
        Files.writeString(directory.resolve("hash"), hash(file));
        URI announce = new URI("http://127.0.0.1:" + port + "/announce");
        Torrent torrent = Torrent.create(file.toFile(), announce, "murphy");
        Path partial = directory.resolve("partial");
        try (OutputStream out = Files.newOutputStream(partial)) {
            torrent.save(out);
        }
        Tracker tracker = new Tracker(new InetSocketAddress(HERE, port));
        tracker.announce(TrackedTorrent.load(partial.toFile()));
        tracker.start();
        Client seeder = new Client(HERE, SharedTorrent.fromFile(partial.toFile(), directory.toFile()));
        seeder.share();
        while (seeder.getState() != Client.ClientState.SEEDING) {
            Thread.sleep(20);
        }
        Files.move(partial, directory.resolve("torrent"));
        Thread.currentThread().join();
    }

    /** When the last one came, and whether it was whole. */
    static volatile long finished = 0;
    static volatile boolean isWhole = false;

    /** Fetches the file again and again, several at a time, and tells at a port whether the last one was whole and came lately. */
    static void fetch(Path torrent, Path directory, int port) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(HERE, port), 16);
        String whole = Files.readString(torrent.resolveSibling("hash"));
        server.createContext("/", exchange -> {
            long age = System.currentTimeMillis() - finished;
            byte[] said = ("whole: " + isWhole + ", " + age + " ms ago\n").getBytes();
            exchange.sendResponseHeaders(isWhole && age < LATELY_MS ? 200 : 503, said.length);
            exchange.getResponseBody().write(said);
            exchange.close();
        });
        server.start();
        for (int loop = 0; loop < LOOPS; loop++) {
            Path to = directory.resolve("got" + loop);
            Thread thread = new Thread(() -> fetchLoop(torrent, to, whole));
            thread.start();
            // One after the other, so that they do not wait for their turn at the same moments.
            Thread.sleep(1000);
        }
    }

    static void fetchLoop(Path torrent, Path directory, String whole) {
        while (true) {
            try {
                fetchOnce(torrent, directory, whole);
            } catch (Exception error) {
                System.out.println(error);
                // What is wrong may be so for a while.
                try {
                    Thread.sleep(100);
                } catch (InterruptedException interrupted) {
                    return;
                }
            }
        }
    }

    static void fetchOnce(Path torrent, Path directory, String whole) throws Exception {
        long begun = System.currentTimeMillis();
        File to = Files.createDirectories(directory).toFile();
        Path got = directory.resolve("data");
        // Of a fetch that was cut short.
        Files.deleteIfExists(got);
        Files.deleteIfExists(directory.resolve("data.part"));
        Client client = new Client(HERE, SharedTorrent.fromFile(torrent.toFile(), to));
        client.download();
        client.waitForCompletion();
        client.stop();
        if (Files.exists(got)) {
            isWhole = hash(got).equals(whole);
            finished = System.currentTimeMillis();
            System.out.println((isWhole ? "whole" : "broken") + " after " + (finished - begun) + " ms");
        }
    }

    static String hash(Path file) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file)));
    }
}
