/* Heat equation on a square plate, one hot edge, explicit steps, in parallel over the rows.
 *
 * Every cell is computed from the old grid alone, and the profile is summed by one thread in a fixed order: the result
 * does not depend on how many threads there are. (A reduction(+) would: its order is not fixed.) */
#include <omp.h>
#include <stdio.h>

enum { N = 400, STEPS = 2000 };

static double grid[2][N][N];

int main(void)
{
    for (int i = 0; i < N; i++)
        grid[0][0][i] = grid[1][0][i] = 1.0;
    for (int step = 0; step < STEPS; step++) {
        double (*old)[N] = grid[step % 2], (*new)[N] = grid[(step + 1) % 2];
#pragma omp parallel for schedule(static)
        for (int i = 1; i < N - 1; i++)
            for (int j = 1; j < N - 1; j++)
                new[i][j] = old[i][j]
                    + 0.25 * (old[i - 1][j] + old[i + 1][j] + old[i][j - 1] + old[i][j + 1] - 4.0 * old[i][j]);
    }
    fprintf(stderr, "%d threads\n", omp_get_max_threads());
    puts("row,mean_temperature");
    for (int i = 0; i < N; i += 20) {
        double sum = 0.0;
        for (int j = 0; j < N; j++)
            sum += grid[STEPS % 2][i][j];
        printf("%d,%.17g\n", i, sum / N);
    }
    return 0;
}
