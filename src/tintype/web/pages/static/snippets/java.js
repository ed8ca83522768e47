/** Java: a text block, in which only the backslash must be doubled: JSON never has three quotes in a row. */

/** @type {Language} */
export const java = {
  name: "Java",
  file: "Generate.java",
  needs: "Java 17 or later: java Generate.java",
  write: ({ base, slug, json, answer }) => `import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;

public class Generate {
    static final String BODY = """
${indented(json.replaceAll("\\", "\\\\"), 12)}
            """;

    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create("${base}/v1/${slug}"))
            .header("x-api-key", System.getenv("SEGMIND_API_KEY"))
            .header("content-type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(BODY))
            .build();
        var response = HttpClient.newHttpClient().send(request, BodyHandlers.ofByteArray());
        if (response.statusCode() != 200) throw new RuntimeException(new String(response.body()));
        Files.write(Path.of("${answer}"), response.body());
    }
}
`,
};

/**
 * @param {string} text
 * @param {number} by
 */
const indented = (text, by) => text.replaceAll(/^/gm, " ".repeat(by));
