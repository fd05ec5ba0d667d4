import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.LongBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.Map;

/** Makes system calls as Java does, and counts what came of each: see calls.c. Errors are known by their texts. */
class Calls {
  static final int PLACES = 256;

  interface Make {
    void make() throws IOException;
  }

  static final Map<String, Integer> ERRORS =
      Map.of("Input/output error", 5, "No space left on device", 28, "Permission denied", 13, "Read-only file system", 30,
          "Disk quota exceeded", 122, "File too large", 27, "Device or resource busy", 16);

  /** A call that fails in the way that is expected where nothing is done to it. */
  static void made(Make make) throws IOException {
    try {
      make.make();
    } catch (FileSystemException error) {
      if (!String.valueOf(error.getMessage()).contains("Not a directory")) throw error;
    }
  }

  static int errno(IOException error) {
    String text = String.valueOf(error.getMessage());
    for (Map.Entry<String, Integer> one : ERRORS.entrySet()) if (text.contains(one.getKey())) return one.getValue();
    return error instanceof java.nio.file.AccessDeniedException ? 13 : 1;
  }

  public static void main(String[] words) throws IOException {
    Path directory = Path.of(words[0]);
    int count = words.length - 1;
    LongBuffer counts;
    try (RandomAccessFile shared = new RandomAccessFile(directory.resolve("counts").toFile(), "rw")) {
      counts = shared.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, 8L * PLACES * count)
          .order(ByteOrder.LITTLE_ENDIAN).asLongBuffer();
    }
    RandomAccessFile raf = new RandomAccessFile(directory.resolve("file").toFile(), "rw");
    FileChannel file = raf.getChannel();
    raf.write("murphy".getBytes());
    ByteBuffer one = ByteBuffer.allocateDirect(1);
    Path no = directory.resolve("file").resolve("no");
    Map<String, Make> calls = Map.of(
        "read", () -> file.read(one.rewind()),
        "write", () -> file.write(one.rewind()),
        "pread64", () -> file.read(one.rewind(), 0),
        "pwrite64", () -> file.write(one.rewind(), 0),
        "fsync", () -> file.force(true),
        "fdatasync", () -> file.force(false),
        "mkdir", () -> made(() -> Files.createDirectory(no)),
        "rename", () -> made(() -> Files.move(no, directory.resolve("no"))),
        "getppid", () -> { });
    System.out.println("ready " + ProcessHandle.current().pid() + " 0");
    for (int turn = 0; turn % 16 != 0 || !Files.exists(directory.resolve("end")); turn++) {
      for (int place = 0; place < count; place++) {
        try {
          calls.get(words[place + 1]).make();
        } catch (IOException error) {
          int at = PLACES * place + errno(error);
          counts.put(at, counts.get(at) + 1);
        }
        counts.put(PLACES * place, counts.get(PLACES * place) + 1);
      }
    }
  }
}
